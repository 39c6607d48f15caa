"""What makes the models: imported when they are listed, so nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samrot import Canonicalizer
    from samrot.evaluation.methods import Method
    from samrot.segmenters import Segmenter


def load_brightness(checkpoint: str | Path | None, device: str) -> Segmenter:
    """Entry point of ``samrot.segmenters``: called with a checkpoint, or None, and a device."""
    import samrot
    from samrot_example_plugin.brightness import BrightnessSegmenter

    if checkpoint is not None:
        raise samrot.InputError(f"brightness has no weights, but checkpoint is {checkpoint}")
    return BrightnessSegmenter()


def load_bright_edge(device: str) -> Canonicalizer:
    """Entry point of ``samrot.canonicalizers``: called with a device."""
    from samrot_example_plugin.bright_edge import bright_edge

    return bright_edge().to(device)


def brightest_edge_method() -> Method:
    """Entry point of ``samrot.methods``: called without arguments."""
    from samrot.evaluation.methods import Method
    from samrot_example_plugin.bright_edge import bright_edge

    source = bright_edge()
    return Method(lambda canonicalizer, view: source, estimates=True)
