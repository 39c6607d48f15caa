"""MobileSAM, SAM-HQ and EfficientViT-SAM compute what the predictors of their packages do."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.segmenters import Prompts
from samrot.segmenters.memo import MemoSegmenter
from samrot.segmenters.sam_family import find_builder
from samrot.testing import assert_commutes
from tests.conftest import random_photo
from tests.segmenters.test_contract import SMALL_FILES, random_official

SIZE_HW = (90, 61)
BOX = np.array([4.5, 3.25, 50.0, 60.0])
PREDICTORS = {
    "mobile_sam": ("mobile_sam", "SamPredictor"),
    "sam_hq_vit_tiny": ("segment_anything_hq", "SamPredictor"),
    "efficientvit_sam_l0": ("efficientsam.models.efficientvit", "EfficientViTSamPredictor"),
}
POINTS, LABELS = np.array([[20.0, 30.0], [40.0, 10.0]]), np.array([1, 0])


def thin_hq_vit() -> Any:
    """SAM-HQ with a plain ViT, as of its official B, L and H."""
    build = pytest.importorskip("segment_anything_hq.build_sam")
    torch.manual_seed(0)
    return build._build_sam(32, 2, 2, [1])


@pytest.fixture(scope="module", params=[*SMALL_FILES, "thin"])
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, samrot.RobustPredictor]:
    """A predictor of its own package, and one of ours, from the same file."""
    if request.param == "thin":
        sam = thin_hq_vit()
        own = import_module("segment_anything_hq").SamPredictor(sam)
        return own, samrot.RobustPredictor(sam, None)
    path = random_official(request.param, tmp_path_factory.mktemp("official"))
    sam = find_builder(request.param)()
    sam.load_state_dict(torch.load(path, weights_only=True))
    module, predictor = PREDICTORS[request.param]
    own = getattr(import_module(module), predictor)(sam.eval())
    return own, samrot.RobustPredictor(samrot.load_segmenter(request.param, checkpoint=path), None)


@pytest.mark.slow
def test_parity_with_their_own_predictor(loaded: tuple[Any, samrot.RobustPredictor]) -> None:
    own, ours = loaded
    photo = random_photo(0, *SIZE_HW)
    own.set_image(photo)
    ours.set_image(photo)
    mask_input = own.predict(box=BOX, multimask_output=False)[2]
    for prompts in (
        {"box": BOX},
        {"point_coords": POINTS, "point_labels": LABELS},
        {"box": BOX, "point_coords": POINTS, "point_labels": LABELS, "multimask_output": False},
        {"box": BOX, "mask_input": mask_input, "return_logits": True},
    ):
        for got, expected in zip(ours.predict(**prompts), own.predict(**prompts), strict=True):
            assert np.array_equal(got, expected)
    none = Prompts(np.zeros((0, 4)))
    candidates = ours.predict(box=BOX)[1].shape[0]
    assert ours.predict_prompts(none, multimask_output=True).scores.shape == (0, candidates)


def test_the_same_masks_at_every_turn(loaded: tuple[Any, samrot.RobustPredictor]) -> None:
    # Encoded once for each canonical photo that differs: for one, if the law holds.
    predictor = samrot.RobustPredictor(MemoSegmenter(loaded[1].segmenter))
    assert_commutes(predictor, image=random_photo(1, *SIZE_HW), boxes_xyxy=BOX[None])


def test_everything(loaded: tuple[Any, samrot.RobustPredictor]) -> None:
    generator = samrot.RobustMaskGenerator(
        loaded[1].segmenter, 2, pred_iou_thresh=-9.0, stability_score_thresh=0.0
    )
    records = generator.generate(random_photo(2, *SIZE_HW))
    assert records
    assert all(record["segmentation"].shape == SIZE_HW for record in records)


@pytest.mark.slow
def test_what_asks_for_a_plain_sam_refuses_sam_hq(tmp_path: Path) -> None:
    path = random_official("sam_hq_vit_tiny", tmp_path)
    with pytest.raises(samrot.InputError, match="sam_hq_vit_tiny is no segment_anything model"):
        samrot.load_segmenter("sam_hq_vit_tiny", checkpoint=path, encoder={"dtype": "bfloat16"})
    predictor = samrot.RobustPredictor(
        samrot.load_segmenter("sam_hq_vit_tiny", checkpoint=path), None
    )
    predictor.set_image(random_photo(0, 30, 40))
    with pytest.raises(samrot.InputError, match="has no image embedding of a single tensor"):
        predictor.get_image_embedding()


def test_what_efficientvit_sam_cannot_take(tmp_path: Path) -> None:
    path = random_official("efficientvit_sam_l0", tmp_path)
    state = torch.load(path, weights_only=True)
    torch.save({"state_dict": state}, path)  # as some of its files are
    predictor = samrot.RobustPredictor(
        samrot.load_segmenter("efficientvit_sam_l0", checkpoint=path), None
    )
    with pytest.raises(samrot.InputError, match="efficientvit_sam_l0 takes no resized image; use"):
        predictor.set_torch_image(torch.zeros(1, 3, 1024, 512), (200, 100))
    with pytest.raises(samrot.InputError, match="leaves nothing of the other"):
        predictor.set_image(random_photo(0, 1, 1500))


def test_files_that_are_not_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMROT_WEIGHTS", str(tmp_path))
    with pytest.raises(
        samrot.InputError,
        match=r"mobile_sam.pt does not exist; expected mobile_sam.pt from https://github.com/Cha",
    ):
        samrot.load_segmenter("mobile_sam")
    path = random_official("mobile_sam", tmp_path)
    assert samrot.load_segmenter("mobile_sam").name == "mobile_sam"
    with pytest.raises(samrot.InputError, match="of another architecture: it lacks mask_decoder"):
        samrot.load_segmenter("sam_hq_vit_tiny", checkpoint=path)


def test_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("segment_anything_hq", "segment_anything_hq.build_sam"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "sam_hq_vit_b.pth").write_bytes(b"x")
    with pytest.raises(
        samrot.InputError,
        match=r"sam_hq_vit_b needs segment_anything_hq.*, which is not installed; pip install "
        r"'samrot\[family\]'",
    ):
        samrot.load_segmenter("sam_hq_vit_b", checkpoint=tmp_path / "sam_hq_vit_b.pth")
