"""``samrot models``: what is bundled, installed, or known but not installed; no model is loaded.

Nothing heavy is imported here; what a weight file is worth, its own header says.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from importlib.util import find_spec

from samrot import weights
from samrot.errors import InputError
from samrot.model_card import ModelCard, read_weight_file
from samrot.runtime.plugins import FAMILIES, usable_plugins

_WIDTH = 100  # of a line of the list
_TRANSFORMERS = (
    "SAM, SAM-HQ, SAM 2, SAM 2.1, SAM 3 tracker, EdgeTAM: checkpoint is a folder or hub id"
)
# Samrot's own segmenters that need no file, and methods; tests compare them with the tables.
_WITHOUT_WEIGHTS = {"grabcut": "GrabCut, from boxes", "box": "the filled box"}
_METHODS = ("none", "canonical", "oracle", "confidence", "hybrid", "tta")


@dataclass(frozen=True)
class ListedModel:
    """A line of the list, and what is said below it.

    Args:
        family: a key of ``FAMILIES``.
        name: name that users give.
        state: ``bundled``, ``installed``, ``absent`` or ``broken``.
        facts: what is to be known of it, or the command that gets it.
        details: further lines.
    """

    family: str
    name: str
    state: str
    facts: str
    details: tuple[str, ...] = ()


def list_models() -> list[ListedModel]:
    """All models and methods that samrot knows of here; a plug-in that is broken is a warning."""
    listed = [
        _bundled("canonicalizers", name, file_name, aspect_log_odds)
        for name, (file_name, aspect_log_odds) in weights.BUNDLED.items()
    ]
    listed.append(_bundled("segmenters", "sam_mini", weights.SAM_MINI))
    listed += [_official(name) for name in weights.OFFICIAL_SAM]
    listed += [_other_sam(name) for name in weights.OTHER_SAMS]
    there = find_spec("transformers") is not None
    command = "" if there else "pip install 'samrot[transformers]': "
    state = "installed" if there else "absent"
    listed.append(ListedModel("segmenters", "transformers", state, command + _TRANSFORMERS))
    for name, meaning in _WITHOUT_WEIGHTS.items():
        listed.append(ListedModel("segmenters", name, "bundled", f"{meaning}; no weights"))
    listed += [ListedModel("methods", name, "bundled", "") for name in _METHODS]
    own = {family: [m.name for m in listed if m.family == family] for family in FAMILIES}
    for plugin in usable_plugins(own):
        facts = f"{plugin.package}, licence: {plugin.licence or 'not said'}"
        listed.append(ListedModel(plugin.family, plugin.name, "installed", facts))
    return listed


def report() -> str:
    """The list as text: a heading for each family, a line or more for each model."""
    models, lines = list_models(), []
    width = max(len(model.name) for model in models)
    for family in FAMILIES:
        lines.append(family)
        for model in (m for m in models if m.family == family):
            start = f"  {model.name:<{width}}  {model.state:<9}  "
            lines.append((start + model.facts).rstrip())
            for detail in model.details:
                lines += textwrap.wrap(
                    detail, _WIDTH, initial_indent=" " * len(start),
                    subsequent_indent=" " * (len(start) + 2), break_on_hyphens=False,
                )  # fmt: skip
    return "\n".join(lines)


def _bundled(family: str, name: str, file_name: str, aspect_log_odds: float = 0.0) -> ListedModel:
    try:
        file = read_weight_file(weights.bundled(file_name))
        card = file.card
    except InputError as error:
        return ListedModel(family, name, "broken", f"{error}; or reinstall samrot")
    header = file.header
    base = f" after those of {header['base']}" if "base" in header else ""
    facts = [
        *([str(header["group"])] if "group" in header else []),
        f"{file.num_parameters:,} parameters{base}",
        f"{file.num_bytes / 1e6:.1f} MB",
        f"licence: {card.licence or 'not said'}",
    ]
    details = _details(card)
    if aspect_log_odds:  # what was measured is of the weights alone
        details = (f"as above, and the aspect ratio: log-odds {aspect_log_odds:g} for landscape",)
    return ListedModel(family, name, "bundled", ", ".join(facts), details)


def _details(card: ModelCard) -> tuple[str, ...]:
    measured = [f"{what}: {value:g}" for what, value in card.accuracy.items()]
    return (
        f"trained on: {card.data or 'not said'}",
        f"accuracy: {'; '.join(measured) or 'not said'}",
    )


def _official(name: str) -> ListedModel:
    path = weights.weights_folder() / weights.OFFICIAL_SAM[name][0]
    if path.is_file():
        size = f"{path.stat().st_size / 1e6:,.0f} MB"
        return ListedModel("segmenters", name, "installed", f"{path}, {size}, licence: Apache-2.0")
    return ListedModel(
        "segmenters", name, "absent",
        f"put {path} there, or let the first use download it (weights/README.md); Apache-2.0",
    )  # fmt: skip


def _other_sam(name: str) -> ListedModel:
    published = weights.OTHER_SAMS[name]
    path = weights.weights_folder() / published.file_name
    missing = []
    if find_spec(published.builder.partition(".")[0]) is None:
        missing.append(weights.OTHER_SAMS_EXTRA)
    if not path.is_file():
        missing.append(f"put {path} there, from {published.source}")
    state = "absent" if missing else "installed"
    return ListedModel(
        "segmenters", name, state, "; ".join([*(missing or [str(path)]), "Apache-2.0"])
    )
