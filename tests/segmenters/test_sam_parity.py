"""SamSegmenter computes what segment_anything's SamPredictor computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from samrot import RobustPredictor, load_segmenter
from samrot.errors import InputError
from samrot.segmenters import SEGMENTERS, SamSegmenter
from samrot.segmenters.sam import load_official
from samrot.weights import OTHER_SAMS
from tests.conftest import random_photo, small_vit

SIZES = [(480, 640), (640, 427), (1, 1), (5, 7), (1100, 1300)]


@pytest.fixture(scope="module", params=[pytest.param("vit", marks=pytest.mark.slow), "sam_mini"])
def sam(request: pytest.FixtureRequest) -> Sam:
    if request.param == "vit":
        return small_vit()
    segmenter = load_segmenter("sam_mini")
    assert isinstance(segmenter, SamSegmenter)
    return segmenter.sam


@pytest.mark.parametrize("size_hw", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_parity(sam: Sam, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    image = random_photo(0, height, width)
    reference, ours = SamPredictor(sam), RobustPredictor(sam, None)
    reference.set_image(image)
    ours.set_image(image)
    box = np.array([0.1 * width, 0.2 * height, 0.8 * width, 0.9 * height])
    points = np.array([[0.3 * width, 0.4 * height], [0.7 * width, 0.6 * height]])
    labels = np.array([1, 0])
    for prompts in (
        {"box": box},
        {"point_coords": points, "point_labels": labels},
        {"point_coords": points, "point_labels": labels, "box": box, "multimask_output": False},
        {"box": box, "return_logits": True},
    ):
        expected, got = reference.predict(**prompts), ours.predict(**prompts)
        for a, b in zip(got, expected, strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert torch.equal(ours.get_image_embedding(), reference.get_image_embedding())


def test_many_boxes_equal_one_at_a_time(sam: Sam) -> None:
    from samrot.segmenters import Prompts

    segmenter = SamSegmenter(sam)
    encoding = segmenter.encode(random_photo(1, 90, 120))
    boxes = np.array([[i, i, 60.0 + i, 50.0 + 2 * i] for i in range(7)], dtype=np.float64)
    together = segmenter.decode(encoding, Prompts(boxes_xyxy=boxes), return_logits=True)
    assert together.masks.shape == (7, 1, 90, 120)
    for i in range(7):
        alone = segmenter.decode(encoding, Prompts(boxes_xyxy=boxes[i : i + 1]), return_logits=True)
        torch.testing.assert_close(together.masks[i : i + 1], alone.masks, rtol=0, atol=1e-4)


def test_a_sliver_is_refused(sam: Sam) -> None:
    with pytest.raises(InputError, match="leaves nothing of the other"):
        SamSegmenter(sam).encode(random_photo(0, 1, 4000))


def test_official_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = small_vit()
    path = tmp_path / "sam.pth"
    torch.save(sam.state_dict(), path)
    loaded = load_official("sam_vit_b", small_vit, path, "cpu")
    image = random_photo(0, 30, 40)
    assert torch.equal(loaded.encode(image).features, SamSegmenter(sam).encode(image).features)

    torn = tmp_path / "torn.pth"
    torn.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="torn.pth cannot be read"):
        load_segmenter("sam_vit_b", checkpoint=torn)
    with pytest.raises(InputError, match="of another architecture"):
        load_segmenter("sam_vit_b", checkpoint=path)
    with pytest.raises(InputError, match="does not exist; expected an official sam_vit_b file"):
        load_segmenter("sam_vit_b", checkpoint=tmp_path / "none.pth")
    for content in ([1, 2], {}, {"a": 1}, {1: torch.ones(1)}, torch.ones(2), {"a": {"b": 1}}):
        torch.save(content, torn)
        with pytest.raises(InputError, match="than names and weights|of another architecture"):
            load_official("sam_vit_b", small_vit, torn, "cpu")
    name, weight = "mask_decoder.iou_token.weight", sam.mask_decoder.iou_token.weight.detach()
    for odd in (
        weight.to_sparse(),
        weight.to("meta"),
        weight.to(torch.float8_e4m3fn),
        weight.to(torch.complex64),
    ):
        torch.save({**sam.state_dict(), name: odd}, torn)
        with pytest.raises(InputError, match=f"{name} holds .* expected torch.float32; it is dam"):
            load_official("sam_vit_b", small_vit, torn, "cpu")


def test_missing_official_weights_name_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMROT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("samrot.weights.published._OFFICIAL_URL", "http://127.0.0.1:9/")
    with pytest.raises(
        InputError,
        match=r"sam_vit_b_01ec64\.pth is not there and cannot be downloaded \(no connection to ",
    ):
        load_segmenter("sam_vit_b")
    assert not (tmp_path / "weights").exists()
    assert capsys.readouterr().err == ""


def test_a_corrupt_official_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pooch downloads again when the checksum is wrong; without a network that is an error."""
    monkeypatch.setenv("SAMROT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("samrot.weights.published._OFFICIAL_URL", "http://127.0.0.1:9/")
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be downloaded"):
        load_segmenter("sam_vit_b")


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="segmenter is 'sam3'; expected one of: sam_mini, sam_vit"):
        load_segmenter("sam3")
    without_weights = {"grabcut", "box"}
    with_weights = {"sam_mini", "sam_vit_b", "sam_vit_l", "sam_vit_h", "transformers", *OTHER_SAMS}
    assert set(SEGMENTERS) == without_weights | with_weights
