"""What the items of the study have to go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from studies.evidence import Said
from studies.numbers import Sample
from studies.precision import PlainRun


@dataclass(frozen=True)
class Context:
    """What there is to go by.

    Args:
        out: folder of the study, where the trained canonicalizers lie.
        said: what canonicalizers say of upright photos; None where none are given.
        resamples: resamples of the photos.
        plain: the plain segmenter on photos with masks; None where none are given.
        labels: CSV of Fischer et al.'s labels.
        device: where models run whose time is measured.
        quick: a smoke test.
    """

    out: Path
    said: Said
    resamples: int
    plain: PlainRun | None = None
    labels: Path | None = None
    device: str = "cpu"
    quick: bool = False
    sample: Sample = field(init=False)
    said_masked: Said = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", Sample(len(self.said.paths), self.resamples))
        paths = [] if self.plain is None else self.plain.paths
        masked = Said(self.out / "said_of_masked", paths, apply_exif=None)
        object.__setattr__(self, "said_masked", masked)
