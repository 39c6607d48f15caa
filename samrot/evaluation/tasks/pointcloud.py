"""Point clouds: every method on every cloud as it is, turned about z, and turned at random."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from samrot.canonicalizers.clouds import CloudCanonicalizer, CloudCanonicalizerChoice
from samrot.data.clouds import CloudDataset, CloudSettings
from samrot.errors import check_choice, check_count
from samrot.evaluation.cloud_table import cloud_table
from samrot.evaluation.report.pointcloud import pointcloud_report
from samrot.evaluation.settings import RunSettings, sample
from samrot.geometry.groups import SO3, rotation_angle_deg
from samrot.geometry.space import ROTATIONS, move_points
from samrot.models.point_networks import POINT_NETWORKS, load_point_network
from samrot.robust.points import walk_points
from samrot.runtime.records import Record
from samrot.scoring import mean

ALIGNED = "aligned"
CANONICAL = "canonical"
# Method -> rotations that are undone: of a canonicalizer, the clouds, and how they were turned.
UNDONE: dict[str, Callable[[CloudCanonicalizer | None, Tensor, Tensor], Tensor]] = {
    "none": lambda _, clouds, known: torch.eye(3).to(clouds).expand_as(known),
    CANONICAL: lambda canonicalizer, clouds, _: canonicalizer(clouds),  # type: ignore[misc]
    "oracle": lambda _, clouds, known: known,
}


@dataclass(kw_only=True)
class PointNetworkChoice:
    """Which network for clouds.

    Args:
        checkpoint: what ``samrot train-points`` wrote.
        name: pointnet or dgcnn.
    """

    checkpoint: str
    name: str = "pointnet"

    def __post_init__(self) -> None:
        check_choice("network.name", self.name, POINT_NETWORKS)


@dataclass(kw_only=True)
class PointCloudSettings(RunSettings):
    """Settings of ``samrot evaluate --task pointcloud``, besides those of every task.

    Args:
        data: labelled clouds.
        network: which network.
        task: pointcloud.
        canonicalizer: which canonicalizer.
        rotations: rotations of each cloud about z, and as many at random in SO(3).
        seed: seed of the rotations.
    """

    known_methods: ClassVar[Collection[str]] = UNDONE

    data: CloudSettings
    network: PointNetworkChoice
    task: str = "pointcloud"
    canonicalizer: CloudCanonicalizerChoice = field(default_factory=CloudCanonicalizerChoice)
    rotations: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task", self.task, ("pointcloud",))
        check_count("rotations", self.rotations, 1)
        check_count("seed", self.seed, 0, 2**32 - 1)

    def input_files(self) -> dict[str, str | None]:
        """Data and checkpoints."""
        return {
            "data.clouds": self.data.clouds,
            "network.checkpoint": self.network.checkpoint,
            "canonicalizer.name": self.canonicalizer.name,
        }

    def views(self, cloud_id: int) -> list[tuple[str, np.ndarray]]:
        """Scenario and rotation of each view of a cloud: one as it is, and some of each other."""
        views: list[tuple[str, np.ndarray]] = []
        for number, (scenario, draw) in enumerate(ROTATIONS.items()):
            rng = np.random.default_rng([self.seed, cloud_id, number])
            count = 1 if scenario == ALIGNED else self.rotations
            views += [(scenario, draw(rng)) for _ in range(count)]
        return views


class PointCloudTask:
    """Evaluate clouds; see ``Task``.

    Args:
        settings: settings of the run.
        dataset: clouds and their labels.
        device: device of the models.

    Raises:
        InputError: if the network is for other classes.
    """

    settings_class: ClassVar[type] = PointCloudSettings
    item: ClassVar[str] = "cloud"
    part: ClassVar[str] = "clouds"

    def __init__(self, settings: PointCloudSettings, dataset: CloudDataset, device: str) -> None:
        self.settings = settings
        self.dataset = dataset
        self.device = device
        chosen = settings.network
        self.network: Any = load_point_network(chosen.checkpoint, name=chosen.name, device=device)
        dataset.check_labels_of(self.network.classes, self.network.parts, chosen.checkpoint)
        self.canonicalizer: CloudCanonicalizer | None = None
        if settings.asks_canonicalizer:
            self.canonicalizer = settings.canonicalizer.load(device)

    @staticmethod
    def items(dataset: CloudDataset, settings: PointCloudSettings) -> list[int]:
        """Places of the clouds in the data set."""
        return sample(list(range(len(dataset))), settings.limit)

    @staticmethod
    def is_whole(
        summary: dict[str, Any], item_ids: list[int], settings: PointCloudSettings
    ) -> bool:
        """Whether all these clouds are in it."""
        return bool(summary["dataset"]["clouds"] == len(item_ids))

    def run(self, item_ids: Sequence[int], write: Callable[[Record], None]) -> None:
        """Evaluate clouds, in order, all views of one together."""
        for cloud_id in item_ids:
            write(self._record(cloud_id))

    @staticmethod
    def table(summary: dict[str, Any]) -> str:
        """The summary, for a person."""
        return cloud_table(summary)

    @staticmethod
    def texts(summary: dict[str, Any]) -> dict[str, str]:
        """See ``Task``."""
        return {"summary.md": cloud_table(summary)}

    @staticmethod
    def report(
        summary: dict[str, Any], records: Iterable[Record], dataset: CloudDataset, folder: Path
    ) -> str:
        """See ``Task``."""
        return pointcloud_report(summary, folder)

    @staticmethod
    def num_parts(record: Record) -> int:
        """See ``Task``."""
        return sum(len(v["agrees"]) for found in record["methods"].values() for v in found.values())

    def close(self) -> None:
        """Let the models go."""
        self.network = self.canonicalizer = None

    @torch.no_grad()
    def _record(self, cloud_id: int) -> Record:
        views = self.settings.views(cloud_id)
        scenarios = [scenario for scenario, _ in views]
        turned = [move_points(self.dataset.clouds[cloud_id], rotation) for _, rotation in views]
        clouds = torch.from_numpy(np.stack(turned).astype(np.float32)).to(self.device)
        known = torch.from_numpy(np.stack([rotation for _, rotation in views])).to(clouds)
        label = self.dataset.labels[cloud_id]
        seconds = {"canonicalize": 0.0, "network": 0.0}
        methods: dict[str, Any] = {}
        for method in self.settings.methods:
            start = time.perf_counter()
            rotations = UNDONE[method](self.canonicalizer, clouds, known)
            moved = time.perf_counter()
            predicted = walk_points(clouds, rotations, self.network).argmax(dim=-1).cpu().numpy()
            seconds["network"] += time.perf_counter() - moved
            result = {
                "correct": _share(predicted == label),
                "agrees": _share(predicted == predicted[:1]),  # with what is said of it as it is
            }
            if method == CANONICAL:
                seconds["canonicalize"] += moved - start
                result |= _errors(rotations.double().cpu().numpy(), known.double().cpu().numpy())
            methods[method] = {
                scenario: {
                    name: [v for v, s in zip(values, scenarios, strict=True) if s == scenario]
                    for name, values in result.items()
                }
                for scenario in ROTATIONS
            }
        return {"cloud_id": cloud_id, "methods": methods, "seconds": seconds}

    def summarise(
        self, records: Iterable[Record], item_ids: list[int], folder: Path
    ) -> dict[str, Any]:
        """Accuracies over clouds and their views; what is undefined is None."""
        settings = self.settings
        seconds: dict[str, float] = {}
        values: dict[str, Any] = {method: {} for method in settings.methods}
        for record in records:
            for stage, spent in record["seconds"].items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
            for method, collected in values.items():
                for scenario, result in record["methods"][method].items():
                    for name, of_views in result.items():
                        collected.setdefault(scenario, {}).setdefault(name, []).append(of_views)
        methods: dict[str, dict[str, Any]] = {
            method: {"angles": {scenario: _scores(result) for scenario, result in found.items()}}
            for method, found in values.items()
        }
        plain = methods.get("none", {}).get("angles", {}).get(ALIGNED, {}).get("accuracy")
        for result in methods.values():
            accuracy = result["angles"]["so3"]["accuracy"]
            result["retention"] = accuracy / plain if plain else None
        return {
            "dataset": {"clouds": len(item_ids), "classes": len(self.dataset.classes)},
            "network": settings.network.name,
            "canonicalizer": settings.canonicalizer.name,
            "rotations": settings.rotations,
            "seed": settings.seed,
            "methods": methods,
            "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
        }


def _share(right: np.ndarray) -> list[float]:
    """(V,) of clouds or (V, N) of points, to a share for each view."""
    shares: list[float] = right.reshape(len(right), -1).mean(axis=1).tolist()
    return shares


def _errors(rotations: np.ndarray, known: np.ndarray) -> dict[str, list[float]]:
    """Degrees from how a cloud was turned: of the whole rotation, and of its z axis alone."""
    between = [SO3.compose(SO3.inverse(q), r) for r, q in zip(rotations, known, strict=True)]
    return {
        "error_deg": [rotation_angle_deg(rotation) for rotation in between],
        "up_error_deg": [
            float(np.rad2deg(np.arccos(np.clip(rotation[2, 2], -1, 1)))) for rotation in between
        ],
    }


def _scores(result: dict[str, list[list[float]]]) -> dict[str, float | None]:
    """Quantity -> (clouds, views), to its numbers; errors of poses as medians."""
    correct = np.mean(result["correct"], axis=1)
    error = correct.std(ddof=1) / np.sqrt(len(correct)) if len(correct) > 1 else None
    scores = {
        "accuracy": float(correct.mean()),
        "standard_error": None if error is None else float(error),  # over clouds
        "agreement": mean(np.ravel(result["agrees"]).tolist()),
    }
    for name in ("error_deg", "up_error_deg"):
        if name in result:
            scores[name] = float(np.median(result[name]))
    return scores
