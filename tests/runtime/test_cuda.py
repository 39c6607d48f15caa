"""On a GPU: what runs on CPUs runs there too, and says the same; skipped where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.cli import main
from samrot.data.coco import CocoDataset
from samrot.geometry import exact
from samrot.segmenters import DecoderSettings, EncoderSettings
from tests.conftest import small_vit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is at hand")


@pytest.mark.parametrize("name", ["c4", "d4", "so2"])
def test_poses(scenes: CocoDataset, name: str) -> None:
    on_cpu, on_gpu = samrot.load_canonicalizer(name), samrot.load_canonicalizer(name, device="cuda")
    photos = [scenes.read(image_id) for image_id in scenes.image_ids]
    for photo, together in zip(photos, on_gpu.estimate_each(photos), strict=True):
        expected, alone, of_many = (
            np.asarray(pose.probabilities)
            for pose in (on_cpu.estimate(photo), on_gpu.estimate(photo), together)
        )
        np.testing.assert_allclose(alone, expected, atol=2e-3)
        np.testing.assert_allclose(of_many, expected, atol=2e-3)


@pytest.mark.parametrize("fast", [False, True])
def test_masks_of_all_turns_are_the_same(scenes: CocoDataset, fast: bool) -> None:
    photo = scenes.read(scenes.image_ids[0])
    boxes = np.array([[40, 30, 200, 170]])
    options: dict[str, Any] = {"device": "cuda"}
    if fast:
        options |= {"encoder": EncoderSettings(dtype="bfloat16", channels_last=True)}
    predictor = samrot.RobustPredictor(samrot.load_segmenter("sam_mini", **options))
    found = []
    for k in range(4):
        turned = exact.move_boxes(boxes, k, (photo.shape[0], photo.shape[1]))
        predictor.set_image(exact.move_image(photo, k))
        masks, _, _ = predictor.predict(box=turned, multimask_output=False)
        found.append(exact.move_masks(masks, (-k) % 4))
    assert all((masks == found[0]).all() for masks in found)
    on_cpu = samrot.RobustPredictor(samrot.load_segmenter("sam_mini"))
    on_cpu.set_image(photo)
    expected, _, _ = on_cpu.predict(box=boxes, multimask_output=False)
    assert (expected == found[0]).mean() > (0.98 if fast else 0.999)


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        (EncoderSettings(), DecoderSettings()),
        (EncoderSettings(attention="sdpa"), DecoderSettings(attention="sdpa")),
        (
            EncoderSettings(attention="sdpa", dtype="bfloat16", channels_last=True),
            DecoderSettings(attention="sdpa", dtype="bfloat16"),
        ),
        (EncoderSettings(attention="sdpa", compile=True), DecoderSettings()),
    ],
)
def test_vit(scenes: CocoDataset, encoder: EncoderSettings, decoder: DecoderSettings) -> None:
    photos = [scenes.read(image_id) for image_id in scenes.image_ids[:2]]
    boxes = [np.array([[40, 30, 200, 170]]), np.array([[10, 10, 90, 90], [50, 20, 150, 160]])]
    segmenter = samrot.segmenters.SamSegmenter(small_vit(), encoder=encoder, decoder=decoder)
    predictor = samrot.RobustPredictor(segmenter, "c4")
    expected = [masks for masks, _, _ in predictor.predict_batch(photos, boxes)]
    predictor.to("cuda")
    for (masks, _, _), of_cpu in zip(predictor.predict_batch(photos, boxes), expected, strict=True):
        assert masks.shape == of_cpu.shape
        assert (masks == of_cpu).mean() > 0.9  # random weights: many logits lie near 0


def test_tilts_are_undone_there(scenes: CocoDataset) -> None:
    photo = scenes.read(scenes.image_ids[1])
    segmenter = samrot.load_segmenter("sam_mini", device="cuda")
    predictor = samrot.RobustPredictor(segmenter, "so2", tilt="full")
    predictor.set_image(photo)
    masks, _, _ = predictor.predict(box=np.array([40, 30, 200, 170]), multimask_output=False)
    assert masks.shape == (1, *photo.shape[:2])


def test_everything(scenes: CocoDataset) -> None:
    segmenter = samrot.load_segmenter("sam_mini", device="cuda")
    generator = samrot.RobustMaskGenerator(segmenter, points_per_side=4)
    assert isinstance(generator.generate(scenes.read(scenes.image_ids[0])), list)


def run(*options: str) -> None:
    assert main([*options, "--device", "cuda"]) == 0


@pytest.mark.parametrize("options", [[], ["--images_per_batch", "3"], ["--angles", "[0, 30, 90]"]])
def test_evaluate(scenes_folder: Path, tmp_path: Path, options: list[str]) -> None:
    data = ["--data.images", str(scenes_folder / "images")]
    data += ["--data.annotations", str(scenes_folder / "annotations.json")]
    methods = ["--methods", "none,canonical,oracle"]
    run("evaluate", *data, *methods, *options, "--out", str(tmp_path / "gpu"))
    assert main(["evaluate", *data, *methods, *options, "--out", str(tmp_path / "cpu")]) == 0
    on_gpu, on_cpu = (
        json.loads((tmp_path / name / "summary.json").read_text())["methods"]
        for name in ("gpu", "cpu")
    )
    for method, expected in on_cpu.items():
        for angle, numbers in expected["angles"].items():
            assert on_gpu[method]["angles"][angle]["AP"] == pytest.approx(numbers["AP"], abs=5e-3)


def test_segment_upright_and_diagnose(scenes_folder: Path, tmp_path: Path) -> None:
    photos = str(scenes_folder / "images")
    box = ["--box", "40", "30", "200", "170"]
    run("segment", photos, *box, "--out", str(tmp_path / "masks"))
    run("upright", photos, "--out", str(tmp_path / "upright"))
    run("diagnose", "--data.images", photos, "--out", str(tmp_path / "poses"))


def test_trainings(scenes_folder: Path, tmp_path: Path) -> None:
    images = ["--data.images", str(scenes_folder / "images")]
    annotations = ["--data.annotations", str(scenes_folder / "annotations.json")]
    brief = ["--optim.steps", "3", "--optim.batch_size", "4", "--workers", "0"]
    few = ["--canonicalizer.size", "65", "--canonicalizer.options", "{widths: [8, 8, 8]}"]
    run("train", *images, *few, *brief, "--out", str(tmp_path / "prior"))
    through = ["--task.weight", "1", "--task.view_size", "128", "--cutmix", "0"]
    run("train", *images, *annotations, *few, *brief, *through, "--out", str(tmp_path / "task"))
    run(
        "finetune",
        *images,
        *annotations,
        *brief,
        "--view_size",
        "128",
        "--out",
        str(tmp_path / "sam"),
    )
    for name in ("prior", "task"):
        assert samrot.load_canonicalizer(str(tmp_path / name / "canonicalizer.safetensors"))
