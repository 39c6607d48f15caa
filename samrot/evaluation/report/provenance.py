"""The last sections of every page: settings, environment, and how to cite."""

from __future__ import annotations

import json
from pathlib import Path

from samrot.evaluation.report.page import PageTable, Section

CITATION = """@inproceedings{mondal2023equivariant,
  title = {Equivariant Adaptation of Large Pretrained Models},
  author = {Mondal, Arnab Kumar and Panigrahi, Siba Smarak and Kaba, S{\\'e}kou-Oumar and
            Rajeswar, Sai and Ravanbakhsh, Siamak},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  note = {arXiv:2310.01647}
}"""


def provenance(folder: Path) -> list[Section]:
    """What a run folder says of itself: ``config.yaml`` and ``environment.json``."""
    environment = json.loads((folder / "environment.json").read_text())
    packages = environment.pop("packages", {})
    rows = [
        [name, "-" if value is None else str(value)]
        for name, value in {**environment, **packages}.items()
    ]
    return [
        Section("Settings", verbatim=(folder / "config.yaml").read_text()),
        Section("Environment", tables=[PageTable(["what", "version"], rows)]),
        how_to_cite(),
    ]


def how_to_cite() -> Section:
    """The paper that samrot implements."""
    line = "If you use samrot, please cite the paper that it implements."
    return Section("How to cite", [line], verbatim=CITATION)
