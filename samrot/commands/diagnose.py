"""``samrot diagnose``: does a canonicalizer agree with the orientations of one's own photos?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from samrot.canonicalizers import CanonicalizerChoice
from samrot.data.images import read_image
from samrot.data.photos import PhotoSettings, find_photos, without_results
from samrot.data.pose_labels import read_pose_labels
from samrot.drawing.overlays import panel
from samrot.drawing.pose_sheets import contact_sheet, plot_reliability
from samrot.errors import InputError, check_count, check_range
from samrot.evaluation.angle_accuracy import angle_of
from samrot.evaluation.pose_accuracy import PoseAccuracy, report_table
from samrot.evaluation.report.diagnosis import diagnosis_report
from samrot.evaluation.report.page import REPORT_FILE
from samrot.evaluation.views import find_views
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.runtime.run_folder import RunFolder


@dataclass(kw_only=True)
class DiagnoseSettings:
    """Settings of ``samrot diagnose``.

    Args:
        out: folder of the report; new or empty, or of the same settings.
        data: photos.
        labels: JSON file that maps file names to the quarter turns that the photos, as they are
            stored, are turned by; without it all of them are taken to be upright as they are
            displayed, or under annotations in their frame.
        prior: probability of each pose in the photos that the segmenter was trained on; by default
            all of them upright.
        canonicalizer: which canonicalizer.
        tilts: degrees, to either side, by which the photos are tilted too; the nearest pose counts.
        random_angles: angles over the whole circle that are drawn for each photo and asked for too;
            five for a table.
        thorough: turn every photo in every way, which takes as many times as long; else what turned
            photos are taken for follows from the law.
        worst: number of mistakes on the contact sheet.
        limit: largest number of photos.
        report: write ``report.html``, one page with everything, that needs no network.
        device: where the canonicalizer runs: cpu, cuda, cuda:1, mps, or auto.
    """

    out: str
    data: PhotoSettings = field(default_factory=PhotoSettings)
    labels: str | None = None
    prior: list[float] | None = None
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    tilts: list[float] = field(default_factory=list)
    random_angles: int = 0
    thorough: bool = False
    worst: int = 24
    limit: int | None = None
    report: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_range("worst", self.worst, 1)
        check_count("random_angles", self.random_angles, 0, 360)
        for tilt_deg in self.tilts:
            check_range("tilts entry", tilt_deg, 0, 45)
        if self.limit is not None:
            check_range("limit", self.limit, 1)


def diagnose(settings: DiagnoseSettings) -> dict[str, Any]:
    """Measure a canonicalizer on photos, each moved by every element of its group.

    Returns:
        What ``report.json`` holds; ``report.md``, ``report.html``, ``reliability.png`` and, if
        there are mistakes, ``worst.png`` lie beside; ``worst_angles.png`` too where angles were
        drawn.

    Raises:
        InputError: if settings or data are unusable.
    """
    paths, apply_exif = find_photos(settings.data)
    paths = without_results(paths, Path(settings.out))[: settings.limit]
    canonicalizer = settings.canonicalizer.load(settings.device)
    group = canonicalizer.group
    if not group.is_exact:
        raise InputError(
            f"canonicalizer {settings.canonicalizer.name} is of {group.name}, by which photos "
            "cannot be moved without resampling; expected one of C4 or D4"
        )
    prior = settings.prior or [1.0] + [0.0] * (group.order - 1)
    if len(prior) != group.order or abs(sum(prior) - 1) > 1e-4 or min(prior) < 0:
        raise InputError(f"prior is {prior}; expected {group.order} shares that sum to 1")
    own_poses = [group.identity] * len(paths)
    if settings.labels is not None:
        own_poses, apply_exif = read_pose_labels(paths, settings.labels, group), None
    run = RunFolder.open(settings.out, settings)
    with run.held():
        accuracy = PoseAccuracy(
            canonicalizer,
            apply_exif=apply_exif,
            tilts_deg=settings.tilts,
            random_angles=settings.random_angles,
            thorough=settings.thorough,
        )
        for path, own_pose in zip(
            tqdm(paths, desc="diagnose", unit="image"), own_poses, strict=True
        ):
            accuracy.update(path, own_pose)
        report: dict[str, Any] = accuracy.report(
            settings.canonicalizer.name, prior, settings.labels
        )
        run.write_text("report.md", report_table(report))
        figure = Figure(figsize=(5, 5))
        plot_reliability(figure, **vars(accuracy.reliability()))
        figure.savefig(run.path / "reliability.png")
        _draw_worst(accuracy, run.path / "worst.png", settings.worst)
        _draw_worst_angles(accuracy, run.path / "worst_angles.png", settings.worst)
        if settings.report:
            run.write_text(REPORT_FILE, diagnosis_report(report, run.path))
        run.write_json("report.json", report)
    return report


def _draw_worst(accuracy: PoseAccuracy, path: Path, count: int) -> None:
    """The mistakes whose true pose was given the least probability: as read, and as corrected."""
    path.unlink(missing_ok=True)
    names = accuracy.group.names
    panels: list[np.ndarray] = []
    for i in np.argsort(accuracy.probability_of_truth, kind="stable"):
        photo, true, predicted = accuracy.paths[i], accuracy.own_poses[i], accuracy.estimated[i]
        if predicted == true or len(panels) == count:
            continue
        image = read_image(photo, apply_exif=accuracy.apply_exif)
        size_hw = (image.shape[0], image.shape[1])
        corrected = PlaneTransform.to_canonical(Pose(predicted), size_hw).image(image)
        label = (
            f"{photo.name}: true {names[true]} ({accuracy.probability_of_truth[i]:.2f}), "
            f"predicted {names[predicted]}, corrected so"
        )
        panels.append(panel([image, corrected], label))
    if panels:
        contact_sheet(panels, path)


def _draw_worst_angles(accuracy: PoseAccuracy, path: Path, count: int) -> None:
    """The photos whose angle is furthest off: as they were turned, and as corrected."""
    path.unlink(missing_ok=True)
    angles = accuracy.angles
    panels: list[np.ndarray] = []
    for i, draw in angles.worst(count) if angles.draws else ():
        image = read_image(accuracy.paths[i], apply_exif=accuracy.apply_exif)
        size_hw = (image.shape[0], image.shape[1])
        to_upright = PlaneTransform.to_canonical(Pose(accuracy.own_poses[i]), size_hw)
        true, pose = angles.angles_deg[i][draw], angles.poses[i][draw]
        turning = find_views([true], None)[0].transform(to_upright.target_hw)
        turned = turning.image(to_upright.image(image))
        correcting = PlaneTransform.to_canonical(pose, turning.target_hw, "expand")
        corrected = correcting.image(turned)
        spread = "" if pose.tilt_spread_deg is None else f" +- {pose.tilt_spread_deg:.0f}"
        label = (
            f"{accuracy.paths[i].name}: true {true:.0f}, estimated "
            f"{angle_of(pose):.0f}{spread}, corrected so"
        )
        panels.append(panel([turned, corrected], label))
    if panels:
        contact_sheet(panels, path)
