"""Pictures of how well poses are estimated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from samrot.drawing.overlays import in_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 6  # of a contact sheet


def plot_reliability(
    figure: Figure,
    confidence: np.ndarray,
    accuracy: np.ndarray,
    count: np.ndarray,
    expected_error: float,
) -> None:
    """A reliability curve, (K,) each, and its expected calibration error."""
    axes = figure.add_subplot(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--")
    axes.plot(confidence, accuracy, marker="o")
    for x, y, number in zip(confidence, accuracy, count, strict=True):
        axes.annotate(str(number), (x, y), textcoords="offset points", xytext=(5, -12))
    axes.set_title(f"expected calibration error {expected_error:.3f}")


def contact_sheet(panels: Sequence[np.ndarray], path: Path) -> None:
    """Panels of one size in rows."""
    Image.fromarray(in_rows(panels, min(COLUMNS, len(panels)))).save(path)
