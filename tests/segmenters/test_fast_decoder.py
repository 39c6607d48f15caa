"""A faster mask decoder gives the same masks, to the rounding of its settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import samrot
from samrot.segmenters import DecoderSettings, EncoderSettings, Prompts, SamSegmenter
from tests.conftest import random_photo, small_sam

BOXES = np.array([[4.0, 5.0, 40.0, 44.0], [0, 0, 64, 48], [30, 10, 34, 12], [50, 40, 64, 48]])
POINTS = np.array([[[10.0, 12.0], [30.0, 40.0]]] * 4)
LABELS = np.array([[1, 0]] * 4)
PROMPTS = {
    "boxes": Prompts(boxes_xyxy=BOXES),
    "one box": Prompts(boxes_xyxy=BOXES[:1]),
    "points": Prompts(point_coords=POINTS, point_labels=LABELS),
    "both": Prompts(BOXES, POINTS, LABELS),
    "none": Prompts(boxes_xyxy=BOXES[:0]),
}


@pytest.fixture(scope="module")
def vit() -> SamSegmenter:
    return SamSegmenter(small_sam())


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"attention": "sdpa"}, 1e-5),
        ({"dtype": "bfloat16"}, 0.05),
        ({"attention": "sdpa", "dtype": "bfloat16"}, 0.05),
    ],
)
def test_same_logits(
    kind: str,
    multimask: bool,
    with_masks: bool,
    settings: dict[str, str],
    tolerance: float,
    vit: SamSegmenter,
) -> None:
    prompts = PROMPTS[kind]
    if with_masks:
        side = vit._low_res_size()[0]
        masks = torch.randn(len(prompts), 1, side, side)
        prompts = Prompts(
            prompts.boxes_xyxy, prompts.point_coords, prompts.point_labels, mask_inputs=masks
        )
    fast = SamSegmenter(vit.sam, decoder=DecoderSettings(**settings))
    encoding = vit.encode(random_photo(0, 48, 64))
    expected, got = (
        s.decode(encoding, prompts, multimask_output=multimask, return_logits=True)
        for s in (vit, fast)
    )
    for name in ("masks", "scores", "low_res_logits"):
        wanted, given = getattr(expected, name), getattr(got, name)
        assert given.shape == wanted.shape
        assert given.dtype == wanted.dtype
        if len(prompts):
            assert float((given - wanted).norm() / wanted.norm()) < tolerance
    binary = fast.decode(encoding, prompts, multimask_output=multimask).masks
    assert torch.equal(binary, got.masks > 0)


def test_beyond_the_margin_of_a_box_there_is_no_mask(vit: SamSegmenter) -> None:
    settings = DecoderSettings(attention="sdpa", box_margin=0.1)
    whole = SamSegmenter(vit.sam, decoder=DecoderSettings(attention="sdpa"))
    cropped = SamSegmenter(vit.sam, decoder=settings)
    encoding = vit.encode(random_photo(0, 48, 64))
    wanted, got = (s.decode(encoding, PROMPTS["boxes"]).low_res_logits for s in (whole, cropped))
    scale = vit._low_res_size()[0] / 64
    for box, all_of_it, part in zip(BOXES, wanted[:, 0], got[:, 0], strict=True):
        x0, y0, x1, y1 = (box * scale).round().astype(int)
        inside = np.s_[y0:y1, x0:x1]
        torch.testing.assert_close(part[inside], all_of_it[inside])
        assert part.min() == part[-1, 0] or part.min() == part[0, -1] or part.shape == (y1, x1)
    assert not torch.equal(wanted, got)
    # Points may lie outside: nothing is left out.
    both = [s.decode(encoding, PROMPTS["both"]).low_res_logits for s in (whole, cropped)]
    assert torch.equal(*both)


def test_weights_loaded_later_count() -> None:
    """Whatever copies the fast ways keep, the model that the user holds is what computes."""
    first, second = small_sam(0), small_sam(1)
    fast = {
        "encoder": EncoderSettings(dtype="bfloat16", channels_last=True),
        "decoder": DecoderSettings(attention="sdpa", dtype="bfloat16"),
    }
    segmenter = SamSegmenter(first, **fast)  # type: ignore[arg-type]
    image = random_photo(0, 48, 64)

    def scores(segmenter: SamSegmenter) -> torch.Tensor:
        return segmenter.decode(segmenter.encode(image), PROMPTS["boxes"]).low_res_logits

    before = scores(segmenter)
    segmenter.sam.load_state_dict(second.state_dict())
    after = scores(segmenter)
    assert not torch.equal(before, after)
    assert torch.equal(after, scores(SamSegmenter(second, **fast)))  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(samrot.InputError, match="the mask decoder has no two-way transformer"):
        samrot.load_segmenter(decoder=DecoderSettings(attention="sdpa"))
    with pytest.raises(samrot.InputError, match="grabcut is no segment_anything model"):
        samrot.load_segmenter("grabcut", decoder=DecoderSettings(dtype="bfloat16"))
    with pytest.raises(samrot.InputError, match="set the decoder's attention to sdpa"):
        DecoderSettings(box_margin=0.2)
    with pytest.raises(samrot.InputError, match="box_margin is -1"):
        DecoderSettings(attention="sdpa", box_margin=-1)
    with pytest.raises(samrot.InputError, match="dtype is 'float16'; expected one of: float32"):
        DecoderSettings(dtype="float16")
