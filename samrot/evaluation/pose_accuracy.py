"""How often a canonicalizer is right: photos moved by every element of its group."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samrot.canonicalizers import Canonicalizer
from samrot.data.images import read_image
from samrot.evaluation.angle_accuracy import AngleAccuracy, angle_rows
from samrot.evaluation.table import markdown
from samrot.geometry.groups import find_group
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.scoring.conformal import describe_sets
from samrot.scoring.pose_statistics import (
    Reliability,
    circular_wasserstein,
    kl_divergence,
    reliability,
    wilson_error,
)
from samrot.structures.fingerprints import describe_known, fingerprint
from samrot.wording import counted

JPEG_QUALITY = 75


class PoseAccuracy:
    """Estimates for photos moved by every element of the canonicalizer's group.

    Args:
        canonicalizer: what is measured.
        apply_exif: whether EXIF applies, as in ``read_image``.
        tilts_deg: tilts, to either side, at which the nearest element is asked for too.
        random_angles: angles drawn for each photo, over the whole circle, that are asked for too.
        thorough: estimate for every element; else for photos as they are read, and the rest
            follows by the law, but for what JPEG compression makes of a turned photo.
    """

    def __init__(
        self,
        canonicalizer: Canonicalizer,
        *,
        apply_exif: bool | None,
        tilts_deg: Sequence[float] = (),
        random_angles: int = 0,
        thorough: bool = False,
    ) -> None:
        self.canonicalizer = canonicalizer
        self.group = canonicalizer.group
        self.apply_exif = apply_exif
        self.thorough = thorough
        self.paths: list[Path] = []
        self.fingerprints: list[int] = []
        self.own_poses: list[int] = []  # of the photos as they are read
        self.estimated: list[int] = []  # likewise
        self.probabilities: list[np.ndarray] = []  # likewise, (|G|,) each
        self.angles = AngleAccuracy(canonicalizer, random_angles)
        self.confusion = np.zeros((self.group.order, self.group.order), dtype=int)
        self.seconds: list[float] = []
        self.confidence: list[float] = []
        self.correct: list[bool] = []
        self.correct_square: list[bool] = []
        self.correct_jpeg: list[bool] = []
        self.correct_tilted: dict[float, list[bool]] = {tilt: [] for tilt in tilts_deg}

    def update(self, path: Path, own_pose: int) -> None:
        """Estimate the pose of a photo as it is read, which is ``own_pose``, and moved."""
        image, group = read_image(path, apply_exif=self.apply_exif), self.group
        self.paths.append(path)
        self.fingerprints.append(fingerprint(image))
        self.own_poses.append(own_pose)
        for g in range(group.order if self.thorough else 1):
            true, pose = group.compose(g, own_pose), self._update_moved(image, g, own_pose)
            self.confusion[true, pose.element] += 1
            if g == group.identity:
                self.estimated.append(pose.element)
                assert pose.probabilities is not None
                self.probabilities.append(pose.probabilities)
        for g in range(1, 1 if self.thorough else group.order):
            by_law = group.compose(g, self.estimated[-1])
            self.confusion[group.compose(g, own_pose), by_law] += 1
        size_hw = (image.shape[0], image.shape[1])
        for tilt_deg, correct in self.correct_tilted.items():
            for signed in (tilt_deg, -tilt_deg):
                tilt = Pose(group.identity, signed)
                tilted = PlaneTransform.from_pose(tilt, size_hw, "expand").image(image)
                correct.append(self.canonicalizer.pose(tilted) == own_pose)
        if self.angles.draws:
            self.angles.update(PlaneTransform.to_canonical(Pose(own_pose), size_hw).image(image))

    def _update_moved(self, image: np.ndarray, g: int, own_pose: int) -> Pose:
        transform = PlaneTransform.from_pose(Pose(g), (image.shape[0], image.shape[1]))
        moved, true = transform.image(image), self.group.compose(g, own_pose)
        start = time.perf_counter()
        pose = self.canonicalizer.estimate(moved)
        self.seconds.append(time.perf_counter() - start)
        self.confidence.append(pose.confidence)
        self.correct.append(pose.element == true)
        self.correct_square.append(self.canonicalizer.pose(centred_square(moved)) == true)
        self.correct_jpeg.append(self.canonicalizer.pose(as_jpeg(moved)) == true)
        return pose

    @property
    def frame(self) -> str:
        """Frame that the photos are read in: displayed, where EXIF applies, or stored."""
        return "displayed" if self.apply_exif else "stored"

    @property
    def probability_of_truth(self) -> np.ndarray:
        """(N,) what the true poses of the photos as they are read were given."""
        rows = zip(self.probabilities, self.own_poses, strict=True)
        return np.array([row[own_pose] for row, own_pose in rows])

    def reliability(self) -> Reliability:
        """The reliability curve of the estimates."""
        return reliability(np.array(self.confidence), np.array(self.correct))

    def report(self, name: str, prior: Sequence[float], labels: str | None) -> dict[str, Any]:
        """The numbers, as JSON; what is undefined is None.

        Args:
            name: name of the canonicalizer.
            prior: (|G|,) probability of each pose in the segmenter's training photos.
            labels: file that the own poses are from; None if all photos are taken to be upright.
        """
        group, curve, accuracy = self.group, self.reliability(), float(np.mean(self.correct))
        remaining = [
            group.compose(group.inverse(estimated), own)
            for estimated, own in zip(self.estimated, self.own_poses, strict=True)
        ]
        canonicalised = np.bincount(remaining, minlength=group.order) / len(remaining)
        divergence = kl_divergence(np.array(prior), canonicalised)
        cyclic = not group.has_mirrors
        return {
            "canonicalizer": name,
            "group": group.name,
            "parameters": sum(p.numel() for p in self.canonicalizer.parameters()),
            "milliseconds": 1000 * float(np.median(self.seconds)),
            "photos": len(self.paths),
            "frame": self.frame,
            "labels": labels,
            "mean_confidence": float(np.mean(self.confidence)),
            "trained_on": describe_known(
                self.fingerprints, getattr(self.canonicalizer, "trained_on", None), "canonicalizer"
            ),
            "pose_accuracy": accuracy,
            "standard_error": wilson_error(accuracy, len(self.paths)),
            "pose_accuracy_aspect_hidden": float(np.mean(self.correct_square)),
            "pose_accuracy_jpeg": float(np.mean(self.correct_jpeg)),
            "pose_accuracy_tilted": {
                f"{tilt:g}": float(np.mean(correct))
                for tilt, correct in self.correct_tilted.items()
            },
            "angle_error_deg": self.angles.report(),
            "pose_sets": describe_sets(
                self.probabilities, self.own_poses, self.canonicalizer.set_threshold
            ),
            "pose_confusion": self.confusion.tolist(),
            "stored_poses_predicted": np.bincount(self.estimated, minlength=group.order).tolist(),
            "predicted": {str(p): k for p, k in zip(self.paths, self.estimated, strict=True)},
            "prior": list(prior),
            "canonicalised": canonicalised.tolist(),
            "kl_prior_to_canonicalised": divergence if np.isfinite(divergence) else None,
            "circular_wasserstein": circular_wasserstein(np.array(prior), canonicalised)
            if cyclic
            else None,
            "reliability": curve.as_json(),
        }


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
    return np.asarray(Image.open(buffer, formats=("JPEG",)).convert("RGB"))


def report_title(report: dict[str, Any]) -> str:
    """What was measured on what."""
    photos, order = counted(report["photos"], "photo"), find_group(report["group"]).order
    return f"{report['canonicalizer']} on {photos}, each turned {order} ways"


def labels_line(report: dict[str, Any]) -> str:
    """What says how the photos are turned."""
    if report["labels"] is not None:
        return f"how they are turned: {report['labels']}"
    return (
        f"no labels: every photo is taken to be upright as it is {report['frame']}, so that one "
        "that is turned counts as a mistake; what the predictions say without that is their "
        f"distribution (photos as {report['frame']}, predicted) and their probability"
    )


def report_table(report: dict[str, Any]) -> str:
    """A report as markdown."""
    names = find_group(report["group"]).names
    lines = [
        report_title(report),
        labels_line(report),
        "",
        *markdown(["quantity", "value"], quantity_rows(report)),
        "",
        *markdown(["degrees", *names], pose_rows(report)),
    ]
    return "\n".join(lines) + "\n"


def quantity_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The numbers of a report, named."""
    divergence, distance = report["kl_prior_to_canonicalised"], report["circular_wasserstein"]
    sets, set_rows = report["pose_sets"], []
    if sets["coverage"] is not None:
        set_rows = [
            (
                f"pose sets that hold the true pose (promised: {sets['level']:g}); mean size",
                f"{sets['coverage']:.4f}; {sets['mean_size']:.3f}",
            )
        ]
    return [
        ("pose accuracy", f"{report['pose_accuracy']:.4f} +- {report['standard_error']:.4f}"),
        (
            "pose accuracy, cut to the centred square (aspect ratio hidden)",
            f"{report['pose_accuracy_aspect_hidden']:.4f}",
        ),
        (f"pose accuracy, saved as JPEG {JPEG_QUALITY}", f"{report['pose_accuracy_jpeg']:.4f}"),
        *(
            (f"pose accuracy, tilted by {tilt} degrees to either side", f"{accuracy:.4f}")
            for tilt, accuracy in report["pose_accuracy_tilted"].items()
        ),
        *(angle_rows(report["angle_error_deg"]) if report["angle_error_deg"] else ()),
        *set_rows,
        (
            "KL(prior, canonicalised), nats",
            "infinite" if divergence is None else f"{divergence:.4f}",
        ),
        (
            "circular Wasserstein distance (prior, canonicalised), quarter turns",
            "-" if distance is None else f"{distance:.4f}",
        ),
        ("probability of the predicted pose, mean", f"{report['mean_confidence']:.4f}"),
        (
            "expected calibration error",
            f"{report['reliability']['expected_calibration_error']:.4f}",
        ),
        (
            "photos that were trained on",
            "not known" if report["trained_on"] is None else str(report["trained_on"]),
        ),
        ("parameters", f"{report['parameters']:,}"),
        ("milliseconds for one photo, median", f"{report['milliseconds']:.1f}"),
    ]


def pose_rows(report: dict[str, Any]) -> list[list[str]]:
    """What a report says of each pose: a name, and a cell for each."""
    names = find_group(report["group"]).names
    by_pose = {
        "prior": [f"{share:.4f}" for share in report["prior"]],
        f"photos as {report['frame']}, predicted": report["stored_poses_predicted"],
        "left after canonicalization": [f"{share:.4f}" for share in report["canonicalised"]],
        **{
            f"turned by {name}, predicted": row
            for name, row in zip(names, report["pose_confusion"], strict=True)
        },
    }
    return [[label, *map(str, cells)] for label, cells in by_pose.items()]
