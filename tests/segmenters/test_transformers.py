"""The family of ``transformers``: small models of the real classes, through the real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import Sam

import samrot
from samrot.geometry import exact
from samrot.segmenters import Prompts, Segmenter
from tests.conftest import random_photo, small_vit

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "global_attn_indexes": [1], "mlp_dim": 128, "num_pos_feats": 128, "layer_norm_eps": 1e-6,
}  # fmt: skip


SIDE = 256
SAM3_SIDE = 336
SMALL_PROMPTS = {"image_size": SIDE, "image_embedding_size": SIDE // 16}


def small_sam() -> Any:
    vision = {**SMALL_VIT, "image_size": SIDE}
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=SMALL_PROMPTS)
    return transformers.SamModel(config)


def small_sam_hq() -> Any:
    config = transformers.SamHQConfig(
        vision_config={**SMALL_VIT, "image_size": SIDE},
        prompt_encoder_config=SMALL_PROMPTS,
        mask_decoder_config={"vit_dim": SMALL_VIT["hidden_size"]},
    )
    return transformers.SamHQModel(config)


def small_sam2() -> Any:
    widths = [16, 32, 64, 128]
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16, blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[1, 1, 2, 4], global_attention_blocks=[3],
        image_size=[SIDE, SIDE],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[SIDE // n, SIDE // n] for n in (4, 8, 16)],
    )
    config = transformers.Sam2Config(
        vision_config=vision, prompt_encoder_config={"image_size": SIDE, "patch_size": 16}
    )
    return transformers.Sam2Model(config)


def small_sam3_tracker() -> Any:
    cells = SAM3_SIDE // 14
    backbone = transformers.Sam3ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=SAM3_SIDE, pretrain_image_size=112, global_attn_indexes=[1], window_size=8,
    )  # fmt: skip
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone,
        backbone_feature_sizes=[[n * cells, n * cells] for n in (4, 2, 1)],
    )
    prompts = {"image_size": SAM3_SIDE, "patch_size": 14}
    config = transformers.Sam3TrackerConfig(vision_config=vision, prompt_encoder_config=prompts)
    return transformers.Sam3TrackerModel(config)


def small_edgetam() -> Any:
    pytest.importorskip("timm", reason="timm is not installed")
    backbone = transformers.TimmWrapperConfig(
        architecture="repvit_m1",
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    vision = transformers.EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_feature_sizes=[[SIDE // n, SIDE // n] for n in (4, 8, 16)],
    )
    prompts = {"image_size": SIDE, "patch_size": 16}
    config = transformers.EdgeTamConfig(vision_config=vision, prompt_encoder_config=prompts)
    return transformers.EdgeTamModel(config)


LONGEST_EDGE = {"size": {"longest_edge": SIDE}, "pad_size": {"height": SIDE, "width": SIDE}}
SQUARE = {"size": {"height": SIDE, "width": SIDE}}
MODELS = {
    "sam": (small_sam, "SamImageProcessor", LONGEST_EDGE),
    "sam_hq": (small_sam_hq, "SamImageProcessor", LONGEST_EDGE),
    "sam2": (small_sam2, "Sam2ImageProcessor", SQUARE),
    "sam3_tracker": (
        small_sam3_tracker,
        "Sam3ImageProcessor",
        {"size": {"height": SAM3_SIDE, "width": SAM3_SIDE}},
    ),
    "edgetam": (small_edgetam, "Sam2ImageProcessor", SQUARE),
}


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build, processor, size = MODELS[request.param]
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp(request.param)
    build().save_pretrained(path)
    getattr(transformers, processor)(**size).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    return samrot.load_segmenter("transformers", checkpoint=folder)


def test_shapes_types_and_every_kind_of_prompt(segmenter: Segmenter) -> None:
    encoding = segmenter.encode(random_photo(0, 40, 60))
    boxes = np.array([[3.0, 4.0, 40.0, 30.0], [10.0, 10.0, 20.0, 35.0]])
    points, labels = np.array([[[5.0, 6.0]], [[30.0, 20.0]]]), np.ones((2, 1))
    low_res = segmenter.decode(encoding, Prompts(boxes)).low_res_logits
    side = low_res.shape[-1]
    assert low_res.shape == (2, 1, side, side)
    assert side in (SIDE // 4, SAM3_SIDE // 14 * 4)
    results = []
    for prompts in (
        Prompts(boxes),
        Prompts(None, points, labels),
        Prompts(boxes, points, labels),
        Prompts(boxes, mask_inputs=low_res),
    ):
        for multimask in (False, True):
            result = segmenter.decode(
                encoding, prompts, multimask_output=multimask, return_logits=True
            )
            candidates = 3 if multimask else 1
            assert result.masks.shape == (2, candidates, 40, 60)
            assert result.scores.shape == (2, candidates)
            assert result.low_res_logits.shape == (2, candidates, side, side)
            assert result.masks.dtype == result.scores.dtype == torch.float32
        results.append(result.masks)
        binary = segmenter.decode(encoding, prompts, multimask_output=True).masks
        assert torch.equal(binary, result.masks > 0)
    for i in range(4):
        for j in range(i):
            assert not torch.equal(results[i], results[j])
    none = segmenter.decode(encoding, Prompts(np.zeros((0, 4))), multimask_output=True)
    assert none.masks.shape == (0, 3, 40, 60)


def test_bfloat16_files_are_used_in_float32(folder: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForMaskGeneration.from_pretrained(folder)
    model.bfloat16().save_pretrained(tmp_path)
    transformers.AutoImageProcessor.from_pretrained(folder).save_pretrained(tmp_path)
    segmenter = samrot.load_segmenter("transformers", checkpoint=tmp_path)
    encoding = segmenter.encode(random_photo(0, 40, 60))
    boxes = Prompts(np.array([[3.0, 4.0, 40.0, 30.0]]))
    found = segmenter.decode(encoding, boxes)
    assert found.scores.dtype == torch.float32
    again = Prompts(boxes.boxes_xyxy, mask_inputs=found.low_res_logits)
    assert segmenter.decode(encoding, again).masks.shape == (1, 1, 40, 60)
    wrong = Prompts(boxes.boxes_xyxy, mask_inputs=torch.zeros(1, 1, 8, 8))
    with pytest.raises(samrot.InputError, match="mask_input is 8x8; expected"):
        segmenter.decode(encoding, wrong)


def test_prompts_do_not_depend_on_each_other(segmenter: Segmenter) -> None:
    encoding = segmenter.encode(random_photo(1, 30, 21))
    boxes = np.array([[1.0, 2.0, 15.0, 25.0], [4.0, 4.0, 9.0, 9.0]])
    masks = segmenter.decode(encoding, Prompts(boxes)).low_res_logits
    together = segmenter.decode(encoding, Prompts(boxes, mask_inputs=masks), return_logits=True)
    for i in range(2):
        prompts = Prompts(boxes[i : i + 1], mask_inputs=masks[i : i + 1])
        alone = segmenter.decode(encoding, prompts, return_logits=True)
        torch.testing.assert_close(together.masks[i : i + 1], alone.masks, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(40, 60), (61, 40), (5, 7)])
def test_robust_at_every_turn(segmenter: Segmenter, size_hw: tuple[int, int]) -> None:
    image, predictor = random_photo(2, *size_hw), samrot.RobustPredictor(segmenter)
    height, width = size_hw
    box = np.array([width / 8, height / 8, width / 2, height / 2])
    predictor.set_image(image)
    upright = predictor.predict(box=box)
    predictor.set_image(exact.move_image(image, 1))
    turned = predictor.predict(box=exact.move_boxes(box, 1, size_hw))
    assert np.array_equal(turned[0], exact.move_masks(upright[0], 1))
    assert np.array_equal(turned[1], upright[1])


# Part of a segment-anything name -> the same in transformers.
NAMES = {
    "image_encoder.": "vision_encoder.",
    "patch_embed.proj": "patch_embed.projection",
    ".blocks.": ".layers.",
    "neck.0": "neck.conv1", "neck.1": "neck.layer_norm1",
    "neck.2": "neck.conv2", "neck.3": "neck.layer_norm2",
    "pe_layer.positional_encoding_gaussian_matrix": "shared_embedding.positional_embedding",
    "point_embeddings.": "point_embed.",
    "mask_downscaling.0": "mask_embed.conv1", "mask_downscaling.1": "mask_embed.layer_norm1",
    "mask_downscaling.3": "mask_embed.conv2", "mask_downscaling.4": "mask_embed.layer_norm2",
    "mask_downscaling.6": "mask_embed.conv3",
    "norm_final_attn": "layer_norm_final_attn",
    "output_upscaling.0": "upscale_conv1", "output_upscaling.1": "upscale_layer_norm",
    "output_upscaling.3": "upscale_conv2",
}  # fmt: skip


def transformers_name(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    if ".layers." in name and ".norm" in name:
        name = name.replace(".norm", ".layer_norm")
    for mlp in ("output_hypernetworks_mlps", "iou_prediction_head"):
        if mlp in name:
            for old, new in (
                ("layers.0", "proj_in"),
                ("layers.1", "layers.0"),
                ("layers.2", "proj_out"),
            ):
                if old in name:
                    name = name.replace(old, new)
                    break
    return name


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sam, Segmenter]:
    """One set of weights in both libraries."""
    sam = small_vit()
    with torch.no_grad():  # zero by default, so that a mistake in their names would not show
        for name, parameter in sam.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(std=0.1)
    model = transformers.SamModel(transformers.SamConfig(vision_config=SMALL_VIT))
    state = {transformers_name(name): value for name, value in sam.state_dict().items()}
    for name in ("pixel_mean", "pixel_std"):
        state.pop(name, None)
    shared = state["prompt_encoder.shared_embedding.positional_embedding"]
    state["shared_image_embedding.positional_embedding"] = shared
    model.load_state_dict(state)
    path = tmp_path_factory.mktemp("converted")
    model.save_pretrained(path)
    transformers.SamImageProcessor().save_pretrained(path)
    return sam, samrot.load_segmenter("transformers", checkpoint=path)


def smooth_photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, (x * y) % 200], axis=2).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("size_hw", [(480, 640), (90, 61)])
def test_parity_with_segment_anything(
    size_hw: tuple[int, int], converted: tuple[Sam, Segmenter]
) -> None:
    sam, segmenter = converted
    image = smooth_photo(*size_hw)
    plain, ours = SamPredictor(sam), samrot.RobustPredictor(segmenter, None)
    plain.set_image(image)
    ours.set_image(image)
    box = np.array([4.5, 3.25, 50.0, 60.0])
    points, labels = np.array([[20.0, 30.0], [40.0, 10.0]]), np.array([1, 0])
    mask_input = plain.predict(box=box, multimask_output=False)[2]
    for prompts in (
        {"box": box},
        {"point_coords": points, "point_labels": labels},
        {"box": box, "point_coords": points, "point_labels": labels},
        {"box": box, "mask_input": mask_input},
    ):
        expected = plain.predict(return_logits=True, **prompts)
        got = ours.predict(return_logits=True, **prompts)
        spread = expected[0].std()
        # The image processor resizes with torchvision, one grey level off PIL's here and there.
        for a, b in zip(got, expected, strict=True):
            assert np.abs(a - b).max() < 0.02 * spread
        assert ((got[0] > 0) == (expected[0] > 0)).mean() > 0.995


EVERYTHING: dict[str, Any] = {
    "points_per_side": 4, "pred_iou_thresh": -99.0, "stability_score_thresh": 0.0,
}  # fmt: skip


@pytest.mark.slow
def test_everything_is_that_of_segment_anything(converted: tuple[Sam, Segmenter]) -> None:
    """On equal weights, masks of one click match; IoU rather than bits, as of the parity above."""
    sam, segmenter = converted
    photo = smooth_photo(120, 160)
    options = {**EVERYTHING, "box_nms_thresh": 1.0}  # random masks overlap: which goes is chance
    expected = SamAutomaticMaskGenerator(sam, **options).generate(photo)
    got = samrot.RobustMaskGenerator(segmenter, canonicalizer=None, **options).generate(photo)
    assert len(expected) > 40
    ious = []
    for want in expected:
        near = [
            record["segmentation"]
            for record in got
            if record["point_coords"] == want["point_coords"]
        ]
        mask = want["segmentation"]
        ious.append(max([(mask & m).sum() / (mask | m).sum() for m in near], default=0.0))
    assert (np.array(ious) >= 0.9).mean() >= 0.99
    assert len(got) == pytest.approx(len(expected), rel=0.01)
    assert got[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert type(got[0][name]) is type(value)


def test_everything_at_every_turn(segmenter: Segmenter) -> None:
    photo = random_photo(5, 40, 60)
    generator = samrot.RobustMaskGenerator(segmenter, **{**EVERYTHING, "points_per_side": 2})
    expected = generator.generate(photo)
    assert expected
    for k in range(1, 4):
        turned = generator.generate(exact.move_image(photo, k))
        assert len(turned) == len(expected)
        for got, want in zip(turned, expected, strict=True):
            assert np.array_equal(got["segmentation"], exact.move_image(want["segmentation"], k))
            for name in ("area", "predicted_iou", "stability_score"):
                assert got[name] == want[name]


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    def message(checkpoint: object) -> str:
        with pytest.raises(samrot.InputError) as caught:
            samrot.load_segmenter("transformers", checkpoint=checkpoint)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert "expected a folder that save_pretrained wrote" in str(caught.value)
        return str(caught.value)

    assert "needs a checkpoint" in message(None)
    assert "holds no config.json" in message(tmp_path)
    assert "cannot be loaded" in message(tmp_path / "none")
    config = transformers.BertConfig(hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
    config.save_pretrained(tmp_path / "bert")
    assert "cannot be loaded" in message(tmp_path / "bert")
    torn = tmp_path / "torn"
    torn.mkdir()
    for path in folder.iterdir():
        content = path.read_bytes()
        (torn / path.name).write_bytes(content[:3000] if path.suffix == ".safetensors" else content)
    assert "cannot be loaded" in message(torn)


def test_code_that_comes_with_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    names = dict.fromkeys(("AutoConfig", "AutoModelForMaskGeneration"), "evil.Evil")
    config = {"model_type": "evil", "auto_map": names, "image_processor_type": "Evil"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    config["auto_map"] = {"AutoImageProcessor": "evil.Evil"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(samrot.InputError, match="cannot be loaded"):
        samrot.load_segmenter("transformers", checkpoint=tmp_path)
    assert not ran.exists()


def test_missing_weights_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if "mask_decoder." in name)
    del state[name]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        samrot.InputError, match=f"lacks 1 weights of a .*{name.split('mask_decoder')[1]} "
    ):
        samrot.load_segmenter("transformers", checkpoint=tmp_path)
