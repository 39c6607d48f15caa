"""``samrot diagnose``: does a canonicalizer agree with the orientations of one's own photos?"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from samrot.canonicalizers import Canonicalizer, load_canonicalizer
from samrot.data.images import read_image
from samrot.data.pose_prior import read_pose_labels
from samrot.engines.evaluate import CanonicalizerChoice
from samrot.engines.overlays import panel
from samrot.engines.run_folder import RunFolder
from samrot.engines.train import PhotoSettings, find_photos
from samrot.errors import InputError
from samrot.geometry.actions import rotate_image
from samrot.geometry.groups import C4
from samrot.pose_statistics import Reliability, circular_wasserstein, kl_divergence, reliability

COLUMNS = 6  # of the contact sheet
JPEG_QUALITY = 75


@dataclass(kw_only=True)
class DiagnoseSettings:
    """Settings of ``samrot diagnose``.

    Args:
        out: folder of the report; new or empty, or of the same settings.
        data: photos.
        labels: JSON file that maps file names to the quarter turns that the photos are turned by;
            None if all are upright.
        prior: probability of each pose in the photos that the segmenter was trained on.
        canonicalizer: which canonicalizer.
        worst: number of photos on the contact sheet.
        limit: of the number of photos.
        device: cpu, cuda, ...
    """

    out: str
    data: PhotoSettings = field(default_factory=PhotoSettings)
    labels: str | None = None
    prior: list[float] = field(default_factory=lambda: [1.0, 0.0, 0.0, 0.0])
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    worst: int = 24
    limit: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if len(self.prior) != C4.order or abs(sum(self.prior) - 1) > 1e-4 or min(self.prior) < 0:
            raise InputError(f"prior is {self.prior}; expected {C4.order} shares that sum to 1")
        if self.worst < 1 or (self.limit is not None and self.limit < 1):
            raise InputError(
                f"worst is {self.worst} and limit {self.limit}; expected numbers of at least 1"
            )


def diagnose(settings: DiagnoseSettings) -> dict[str, Any]:
    """Measure a canonicalizer on photos, each turned four ways.

    Returns:
        What ``report.json`` holds; ``report.md``, ``reliability.png`` and ``worst.png`` lie beside.

    Raises:
        InputError: if settings or data are unusable, or matplotlib is not installed.
    """
    paths, apply_exif = find_photos(settings.data)
    paths = paths[: settings.limit]
    own_poses = [0] * len(paths)
    if settings.labels is not None:
        own_poses, apply_exif = read_pose_labels(paths, settings.labels), None
    canonicalizer = load_canonicalizer(settings.canonicalizer.name, device=settings.device)
    figure = _empty_figure()
    run = RunFolder.open(settings.out, settings)
    photos = _PhotoPoses(canonicalizer, apply_exif=apply_exif)
    for path, own_pose in zip(tqdm(paths, desc="diagnose", unit="image"), own_poses, strict=True):
        photos.look_at(path, own_pose)
    curve = reliability(np.array(photos.confidence), np.array(photos.correct))
    report = _report(settings, photos, own_poses, curve)
    run.write_text("report.md", report_table(report))
    _plot_reliability(figure, curve, run.path / "reliability.png")
    _contact_sheet(photos, run.path / "worst.png", settings.worst)
    run.write_json("report.json", report)
    return report


class _PhotoPoses:
    """Predictions for each photo at its four turns."""

    def __init__(self, canonicalizer: Canonicalizer, *, apply_exif: bool | None) -> None:
        self.canonicalizer = canonicalizer
        self.apply_exif = apply_exif
        self.paths: list[Path] = []
        self.predicted: list[int] = []  # of the photos as they are stored
        self.probability_of_truth: list[float] = []
        self.confusion = np.zeros((C4.order, C4.order), dtype=int)
        self.seconds: list[float] = []
        self.confidence: list[float] = []
        self.correct: list[bool] = []
        self.correct_square: list[bool] = []
        self.correct_jpeg: list[bool] = []

    def look_at(self, path: Path, own_pose: int) -> None:
        """Predict the pose of a photo as it is, and turned."""
        image = read_image(path, apply_exif=self.apply_exif)
        for k in range(C4.order):
            turned, pose = rotate_image(image, k), (own_pose + k) % C4.order
            start = time.perf_counter()
            prediction = self.canonicalizer.predict(turned)
            self.seconds.append(time.perf_counter() - start)
            if k == 0:
                self.paths.append(path)
                self.predicted.append(prediction.pose)
                self.probability_of_truth.append(float(prediction.probabilities[pose]))
            self.confusion[pose, prediction.pose] += 1
            self.confidence.append(float(prediction.probabilities.max()))
            self.correct.append(prediction.pose == pose)
            self.correct_square.append(self.canonicalizer.pose(centred_square(turned)) == pose)
            self.correct_jpeg.append(self.canonicalizer.pose(as_jpeg(turned)) == pose)


def centred_square(image: np.ndarray) -> np.ndarray:
    """The centred square of an image, which hides its aspect ratio; (S, S, 3)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def as_jpeg(image: np.ndarray) -> np.ndarray:
    """The image after JPEG compression, whose 8-px grid then says nothing about its past."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _report(
    settings: DiagnoseSettings,
    photos: _PhotoPoses,
    own_poses: Sequence[int],
    curve: Reliability,
) -> dict[str, Any]:
    remaining = (np.array(own_poses) - np.array(photos.predicted)) % C4.order
    canonicalised = np.bincount(remaining, minlength=C4.order) / len(remaining)
    prior = np.array(settings.prior)
    divergence = kl_divergence(prior, canonicalised)
    accuracy = float(np.mean(photos.correct))
    return {
        "canonicalizer": settings.canonicalizer.name,
        "parameters": sum(p.numel() for p in photos.canonicalizer.parameters()),
        "milliseconds": 1000 * float(np.median(photos.seconds)),
        "photos": len(photos.paths),
        "pose_accuracy": accuracy,
        "standard_error": float(np.sqrt(accuracy * (1 - accuracy) / len(photos.paths))),
        "pose_accuracy_aspect_hidden": float(np.mean(photos.correct_square)),
        "pose_accuracy_jpeg": float(np.mean(photos.correct_jpeg)),
        "pose_confusion": photos.confusion.tolist(),
        "stored_poses_predicted": np.bincount(photos.predicted, minlength=C4.order).tolist(),
        "predicted": {str(p): k for p, k in zip(photos.paths, photos.predicted, strict=True)},
        "prior": prior.tolist(),
        "canonicalised": canonicalised.tolist(),
        "kl_prior_to_canonicalised": divergence if np.isfinite(divergence) else None,
        "circular_wasserstein": circular_wasserstein(prior, canonicalised),
        "reliability": {
            "confidence": curve.confidence.tolist(),
            "accuracy": curve.accuracy.tolist(),
            "count": curve.count.tolist(),
            "expected_calibration_error": curve.expected_error,
        },
    }


def report_table(report: dict[str, Any]) -> str:
    """The numbers as markdown."""
    divergence = report["kl_prior_to_canonicalised"]
    lines = [
        f"{report['canonicalizer']} on {report['photos']} photos, each turned four ways",
        "",
        "| quantity | value |",
        "|---|---|",
        f"| pose accuracy | {report['pose_accuracy']:.4f} +- {report['standard_error']:.4f} |",
        "| pose accuracy, cut to the centred square (aspect ratio hidden) | "
        f"{report['pose_accuracy_aspect_hidden']:.4f} |",
        f"| pose accuracy, saved as JPEG {JPEG_QUALITY} | {report['pose_accuracy_jpeg']:.4f} |",
        "| KL(prior, canonicalised), nats | "
        f"{'infinite' if divergence is None else format(divergence, '.4f')} |",
        "| circular Wasserstein distance (prior, canonicalised), quarter turns | "
        f"{report['circular_wasserstein']:.4f} |",
        "| expected calibration error | "
        f"{report['reliability']['expected_calibration_error']:.4f} |",
        f"| parameters | {report['parameters']:,} |",
        f"| milliseconds for one photo, median | {report['milliseconds']:.1f} |",
        "",
        "| degrees | " + " | ".join(str(90 * k) for k in range(C4.order)) + " |",
        "|---" * (C4.order + 1) + "|",
        "| prior | " + " | ".join(f"{share:.4f}" for share in report["prior"]) + " |",
        "| photos as stored, predicted | "
        + " | ".join(map(str, report["stored_poses_predicted"]))
        + " |",
        "| left after canonicalization | "
        + " | ".join(f"{share:.4f}" for share in report["canonicalised"])
        + " |",
        *(
            f"| turned by {90 * k}, predicted | " + " | ".join(map(str, row)) + " |"
            for k, row in enumerate(report["pose_confusion"])
        ),
    ]
    return "\n".join(lines) + "\n"


def _empty_figure() -> Any:
    """A figure to plot into, made first so that a missing matplotlib stops before the work."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("matplotlib is not installed; pip install 'samrot[plots]'") from error
    return Figure(figsize=(5, 5))


def _plot_reliability(figure: Any, curve: Reliability, path: Path) -> None:
    axes = figure.add_subplot(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--")
    axes.plot(curve.confidence, curve.accuracy, marker="o")
    for x, y, count in zip(curve.confidence, curve.accuracy, curve.count, strict=True):
        axes.annotate(str(count), (x, y), textcoords="offset points", xytext=(5, -12))
    axes.set_title(f"expected calibration error {curve.expected_error:.3f}")
    figure.savefig(path)


def _contact_sheet(photos: _PhotoPoses, path: Path, count: int) -> None:
    """The photos as they are stored whose own pose was given the least probability."""
    worst = np.argsort(photos.probability_of_truth, kind="stable")[:count]
    panels = [
        panel(
            read_image(photos.paths[i], apply_exif=photos.apply_exif),
            f"{photos.paths[i].stem[-12:]}: {90 * photos.predicted[i]}, "
            f"true {photos.probability_of_truth[i]:.2f}",
        )
        for i in worst
    ]
    blank = np.full_like(panels[0], 255)
    panels += [blank] * (-len(panels) % min(COLUMNS, len(panels)))
    columns = min(COLUMNS, len(panels))
    rows = [np.concatenate(panels[i : i + columns], 1) for i in range(0, len(panels), columns)]
    Image.fromarray(np.concatenate(rows)).save(path)
