"""Methods that segment a photo in several turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import samrot
from samrot.canonicalizers import Canonicalizer
from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.data.coco import CocoDataset, DataSettings
from samrot.errors import InputError, NoImageError
from samrot.evaluation.prompts import PromptSettings
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.evaluation.tasks.segmentation import SegmentationTask
from samrot.geometry.groups import C4, D4
from samrot.geometry.plane import xywh_to_xyxy
from samrot.robust.pose_sources import UnsureCanonicalizer, WholeOrbit
from samrot.segmenters import SegmenterSettings
from tests.evaluation.conftest import BrightSegmenter

pytestmark = pytest.mark.usefixtures("bright")


class DarkEdge(nn.Module):
    """Evidence for the edge that is dark, times a factor: a canonicalizer as sure as it is told."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        edges = [images.rot90(-k, (-2, -1))[..., :2, :].mean((1, 2, 3)) for k in range(4)]
        return -self.factor * torch.stack(edges, dim=1)


def canonicalizer(factor: float) -> Canonicalizer:
    return Canonicalizer(DarkEdge(factor), Thumbnail(32, "square"), mirror_average=False)


def settings(data: tuple[Path, Path], out: Path, **changes: Any) -> EvaluateSettings:
    return EvaluateSettings(
        data=DataSettings(images=str(data[0]), annotations=str(data[1])),
        out=str(out),
        segmenter=SegmenterSettings(name="leaning"),
        **changes,
    )


def test_the_segmenter_decides(rods: tuple[Path, Path], tmp_path: Path) -> None:
    methods = ["none", "confidence", "tta"]
    summary = evaluate(settings(rods, tmp_path / "run", methods=methods))
    plain, confidence, tta = summary["methods"].values()
    assert confidence["pose_accuracy"] == 1
    assert confidence["pose_confusion"] == np.eye(4, dtype=int).tolist()
    assert confidence["angles"]["180"]["AP"] == plain["angles"]["0"]["AP"]
    for result in (confidence, tta):
        assert result["equivariance"] == {"identical_masks": 1.0, "mean_iou": 1.0}
        assert result["encoder_passes"] == 4
    assert "pose_accuracy" not in tta
    assert plain["encoder_passes"] == 1
    assert plain["equivariance"]["mean_iou"] < 0.99  # it leans
    # The lean cancels in the mean of the four logits, and what is bright remains.
    assert tta["angles"]["0"]["mIoU"] > 0.999 > plain["angles"]["0"]["mIoU"]
    assert "4.00 encoder passes a photo" in (tmp_path / "run" / "summary.md").read_text()


def test_what_views_share_is_asked_once(
    rods: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = BrightSegmenter.decode

    def counted(self: BrightSegmenter, encoding: Any, prompts: Any, **options: Any) -> Any:
        decoded.append(len(prompts))
        return decode(self, encoding, prompts, **options)

    monkeypatch.setattr(BrightSegmenter, "decode", counted)
    evaluate(settings(rods, tmp_path / "run", methods=["confidence"]))
    # Each of the four canonical images once to decide, and the one that is chosen once more.
    assert decoded == [3] * 5


@pytest.mark.parametrize(("factor", "passes"), [(100.0, 1), (0.0, 4)])
def test_hybrid_asks_where_the_canonicalizer_is_unsure(
    factor: float,
    passes: int,
    rods: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = settings(rods, tmp_path / "run", methods=["canonical", "hybrid"])
    monkeypatch.setattr(
        type(wanted.canonicalizer), "load", lambda self, device: canonicalizer(factor)
    )
    summary = evaluate(wanted)
    canonical, hybrid = summary["methods"].values()
    assert hybrid["pose_accuracy"] == 1
    assert hybrid["encoder_passes"] == passes
    assert hybrid["equivariance"]["identical_masks"] == 1.0
    assert canonical["pose_accuracy"] == (1 if factor else 0.25)  # ties go to the first
    if factor:
        assert hybrid["angles"] == canonical["angles"]


def test_the_candidates_are_the_likeliest_that_reach_the_threshold(
    rods: tuple[Path, Path],
) -> None:
    image = CocoDataset.load(*rods).read(1)
    unsure = canonicalizer(1.0)
    shares = unsure.estimate(image).probabilities
    assert shares is not None
    assert 0.3 < shares[0] < 0.9
    found = UnsureCanonicalizer(unsure, threshold=0.9, prior_weight=0.1).candidates(image)
    order = np.argsort(-shares)
    assert [candidate.pose.element for candidate in found] == order[: len(found)].tolist()
    assert shares[order[: len(found) - 1]].sum() < 0.9 <= shares[order[: len(found)]].sum()
    weights = [candidate.log_weight for candidate in found]
    assert weights == pytest.approx(0.1 * np.log(shares[order[: len(found)]]))
    assert len(UnsureCanonicalizer(unsure, threshold=0).candidates(image)) == 1
    assert len(UnsureCanonicalizer(unsure, threshold=1).candidates(image)) == 4
    assert len(WholeOrbit(D4).candidates(image)) == 8
    with pytest.raises(InputError, match="threshold is 1.5; expected"):
        UnsureCanonicalizer(unsure, threshold=1.5)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("pose_source", ["confidence", "hybrid"])
def test_the_predictor_decides_at_the_first_prompt(
    pose_source: str, turns: int, rods: tuple[Path, Path]
) -> None:
    dataset = CocoDataset.load(*rods)
    upright = dataset.read(1)
    box = xywh_to_xyxy([dataset.instances(1)[0]["bbox"]])
    given = samrot.RobustPredictor(BrightSegmenter(160.0), None)
    given.set_image(upright)
    expected = given.predict(box=box[0])[0]
    from samrot.geometry import exact

    robust = samrot.RobustPredictor(
        BrightSegmenter(160.0), canonicalizer(0.0), pose_source=pose_source
    )
    robust.set_image(exact.move_image(upright, turns))
    assert robust.is_image_set
    with pytest.raises(NoImageError, match="decides at the first predict"):
        _ = robust.pose
    with pytest.raises(NoImageError, match="decides at the first predict"):
        robust.get_image_embedding()
    moved = exact.move_boxes(box, turns, upright.shape[:2])
    masks, scores, _ = robust.predict(box=moved[0])
    assert robust.pose == turns
    assert scores[0] == pytest.approx(0.9)
    assert np.array_equal(masks, exact.move_masks(expected, turns))
    again = robust.predict_batch([exact.move_image(upright, turns)], [moved])[0]
    assert np.array_equal(again[0][0], masks)
    robust.set_image(upright, pose=2)
    assert robust.pose == 2
    robust.reset_image()
    assert not robust.is_image_set


def test_what_cannot_decide_is_refused(rods: tuple[Path, Path], tmp_path: Path) -> None:
    no_score = BrightSegmenter(160.0)
    no_score.predicts_scores = False
    for arguments, message in (
        ({"pose_source": "best"}, "pose_source is 'best'; expected one of: canonicalizer"),
        ({"pose_source": "hybrid", "canonicalizer": None}, "canonicalizer is None; name one"),
    ):
        with pytest.raises(InputError, match=message):
            samrot.RobustPredictor(BrightSegmenter(160.0), **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="bright predicts none; use canonicalizer"):
        samrot.RobustPredictor(no_score, pose_source="confidence")
    live = PromptSettings(source="detector", detector="a:b")
    with pytest.raises(InputError, match="methods holds tta, whose masks are of the same prompts"):
        settings(rods, tmp_path / "run", methods=["tta"], prompts=live)
    wanted = settings(rods, tmp_path / "run", methods=["confidence"])
    with pytest.raises(InputError, match="bright predicts none"):
        SegmentationTask(wanted, CocoDataset.load(*rods), "cpu", segmenter=no_score)
    assert C4 is WholeOrbit().group
