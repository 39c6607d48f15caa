"""A faster image encoder gives the same embeddings, to the rounding of its settings."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import samrot
from samrot.segmenters import EncoderSettings, Prompts, SamSegmenter
from tests.conftest import random_photo, small_sam


@pytest.fixture(scope="module")
def vit() -> SamSegmenter:
    return SamSegmenter(small_sam())


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({"attention": "sdpa"}, 1e-5),
        ({"channels_last": True}, 1e-5),
        ({"attention": "sdpa", "dtype": "bfloat16"}, 0.03),
        ({"dtype": "bfloat16", "channels_last": True}, 0.03),
    ],
)
def test_same_embeddings(settings: dict[str, object], tolerance: float, vit: SamSegmenter) -> None:
    image = random_photo(0, 48, 64)
    kept = {name: value.clone() for name, value in vit.sam.state_dict().items()}
    strides = {name: value.stride() for name, value in vit.sam.state_dict().items()}
    fast = SamSegmenter(vit.sam, encoder=EncoderSettings(**settings))  # type: ignore[arg-type]
    expected, got = vit.encode(image).features, fast.encode(image).features
    assert got.dtype == torch.float32
    assert not torch.equal(got, expected) or settings == {"channels_last": True}
    assert float((got - expected).norm() / expected.norm()) < tolerance
    boxes = Prompts(boxes_xyxy=np.array([[4.0, 5.0, 40.0, 44.0]]))
    masks = [s.decode(s.encode(image), boxes).masks for s in (vit, fast)]
    assert (masks[0] == masks[1]).float().mean() > 1 - tolerance
    for name, value in vit.sam.state_dict().items():
        assert torch.equal(value, kept[name])
        assert value.stride() == strides[name]
        assert value.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled() -> None:
    vit = SamSegmenter(small_sam())
    vit.sam.image_encoder.blocks = vit.sam.image_encoder.blocks[1:]  # compiling takes its time
    compiled = SamSegmenter(vit.sam, encoder=EncoderSettings(attention="sdpa", compile=True))
    for image in (random_photo(0, 48, 64), random_photo(1, 64, 40)):
        expected, got = vit.encode(image).features, compiled.encode(image).features
        assert float((got - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.slow
def test_what_cannot_be_compiled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no_such_compiler"))
    sam = small_sam()
    sam.image_encoder.blocks = sam.image_encoder.blocks[1:]
    segmenter = SamSegmenter(sam, encoder=EncoderSettings(compile=True))
    with pytest.raises(samrot.InputError, match=r"compile is true, but .*needs a C\+\+ compiler"):
        segmenter.encode(random_photo(0, 30, 40))


def test_positions_count(vit: SamSegmenter) -> None:
    """The law above would hold without relative positions too, if they did not matter."""
    sam = small_sam()
    state = {k: v * (0.0 if "rel_pos" in k else 1.0) for k, v in vit.sam.state_dict().items()}
    sam.load_state_dict(state)
    image = random_photo(0, 48, 64)
    without = SamSegmenter(sam).encode(image).features
    assert float((without - vit.encode(image).features).norm() / without.norm()) > 0.01


def test_the_bundled_model_in_bfloat16() -> None:
    image = random_photo(1, 60, 80)
    boxes = Prompts(boxes_xyxy=np.array([[4.0, 5.0, 60.0, 50.0]]))
    settings = EncoderSettings(dtype="bfloat16", channels_last=True)
    plain, fast = samrot.load_segmenter(), samrot.load_segmenter(encoder=settings)
    masks = [s.decode(s.encode(image), boxes).masks for s in (plain, fast)]
    assert (masks[0] == masks[1]).float().mean() > 0.97


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(samrot.InputError, match="the image encoder is no ViT of segment-anything"):
        samrot.load_segmenter(encoder=EncoderSettings(attention="sdpa"))
    with pytest.raises(samrot.InputError, match="grabcut is no segment_anything model"):
        samrot.load_segmenter("grabcut", encoder=EncoderSettings(dtype="bfloat16"))
    with pytest.raises(samrot.InputError, match="dtype is 'float16'; expected one of: float32"):
        EncoderSettings(dtype="float16")
