"""ONNX files give torch's numbers, and an app without torch gets the same mask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samrot
from samrot.canonicalizers import CanonicalizerChoice, save_canonicalizer
from samrot.cli import main
from samrot.commands.export import ExportSettings, Network, _write, export
from samrot.geometry import exact
from samrot.robust.onnx_models import PoseModel
from samrot.segmenters import SamSegmenter
from tests.conftest import random_photo, small_d4, small_vit
from tests.segmenters.test_contract import disc_photo

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = f"""
import runpy, sys
sys.modules["torch"] = None  # importing it is an error from here on
runpy.run_path({str(ROOT / "examples" / "onnx_app.py")!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("onnx")
    assert main(["export", "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_what_is_written(files: Path) -> None:
    names = {"canonicalizer.onnx", "encoder.onnx", "decoder.onnx", "export.json"}
    assert {path.name for path in files.iterdir()} == names
    content = json.loads((files / "export.json").read_text())
    assert content["side"] == 512
    for name, network in content["networks"].items():
        assert network["file"] == f"{name}.onnx"
        assert 0 <= network["difference"] < 1e-3
        session = onnxruntime.InferenceSession(str(files / network["file"]))
        assert [given.name for given in session.get_inputs()] == list(network["inputs"])
        assert [given.name for given in session.get_outputs()] == network["outputs"]


@pytest.mark.slow
@pytest.mark.parametrize("size_hw", [(1, 1), (5, 7), (33, 33), (120, 81), (480, 640)])
def test_poses_at_any_size(size_hw: tuple[int, int], files: Path) -> None:
    session = onnxruntime.InferenceSession(str(files / "canonicalizer.onnx"))
    canonicalizer = samrot.load_canonicalizer("c4")
    for k in range(4):
        image = exact.move_image(random_photo(3, *size_hw), k)
        logits = session.run(None, {"image": image})[0]
        np.testing.assert_allclose(logits, canonicalizer.logits(image).numpy(), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_an_app_without_torch(files: Path, tmp_path: Path) -> None:
    photo = exact.move_image(disc_photo(), 1)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    box = exact.move_boxes(np.array([16.0, 14.0, 45.0, 43.0]), 1, (56, 72))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(files),
         str(tmp_path / "photo.png"), *map(str, box), str(tmp_path / "mask.png")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.png")) > 0
    predictor = samrot.RobustPredictor(samrot.load_segmenter())
    predictor.set_image(photo)
    expected = predictor.predict(box=box, multimask_output=False)[0][0]
    assert (mask == expected).mean() > 0.999


@pytest.mark.slow
def test_clicks(files: Path) -> None:
    """Without a box, SamPredictor pads with a point labelled -1; with it, a click is the same."""
    segmenter, photo = samrot.load_segmenter(), disc_photo()
    predictor = samrot.RobustPredictor(segmenter, None)
    predictor.set_image(photo)
    expected = predictor.predict(np.array([[30.0, 28.0]]), np.array([1]), return_logits=True)
    coords = predictor.transform.apply_coords(np.array([[[30.0, 28.0]]]), photo.shape[:2])
    session = onnxruntime.InferenceSession(str(files / "decoder.onnx"))
    masks, ious, _ = session.run(
        None,
        {
            "image_embeddings": predictor.get_image_embedding().numpy(),
            "point_coords": np.append(coords, [[[0, 0]]], axis=1).astype(np.float32),
            "point_labels": np.array([[1, -1]], dtype=np.float32),
            "mask_input": np.zeros((1, 1, 128, 128), dtype=np.float32),
            "has_mask_input": np.zeros(1, dtype=np.float32),
            "orig_im_size": np.array(photo.shape[:2], dtype=np.float32),
        },
    )
    np.testing.assert_allclose(masks[0, 1:], expected[0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(ious[0, 1:], expected[1], rtol=0, atol=1e-4)


def test_a_file_that_gives_nan_is_refused(tmp_path: Path) -> None:
    class Zero(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / (x - 1)

    zero, one = torch.zeros(1, 2), torch.ones(1, 2)
    network = Network(Zero(), {"x": zero}, {"x": one * 0}, ["y"], {})
    assert _write(network, tmp_path, "fine")["difference"] == 0
    with pytest.raises(samrot.InputError, match=r"bad\.onnx differs from torch by nan"):
        _write(Network(Zero(), {"x": zero}, {"x": one}, ["y"], {}), tmp_path, "bad")


@pytest.mark.parametrize("frame", ["square", "squares", "letterbox"])
@pytest.mark.parametrize("size_hw", [(40, 61), (64, 48), (9, 9)])
def test_the_thumbnail_in_torch(frame: str, size_hw: tuple[int, int]) -> None:
    from samrot.canonicalizers import build_canonicalizer

    torch.manual_seed(0)
    canonicalizer = build_canonicalizer(
        "gcnn", size=33, frame=frame, aspect_log_odds=1.5, widths=[4, 8]
    ).eval()
    image = random_photo(0, *size_hw)
    with torch.no_grad():
        logits = PoseModel(canonicalizer)(torch.from_numpy(image))
    torch.testing.assert_close(logits, canonicalizer.logits(image), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_an_official_sam_and_a_canonicalizer_for_mirror_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "samrot.commands.export.load_segmenter",
        lambda *_, **__: SamSegmenter(small_vit(), "sam_vit_b"),
    )
    canonicalizer = small_d4()
    image = torch.from_numpy(random_photo(0, 41, 64))
    logits = PoseModel(canonicalizer)(image)
    torch.testing.assert_close(logits, canonicalizer.logits(image.numpy()), rtol=0, atol=1e-3)
    checkpoint = tmp_path / "d4.safetensors"
    save_canonicalizer(
        canonicalizer, checkpoint, architecture="orbit_cnn", options={"widths": [16, 32]}
    )
    content = export(
        ExportSettings(
            out=str(tmp_path / "out"), canonicalizer=CanonicalizerChoice(name=str(checkpoint))
        )
    )
    assert content["side"] == 1024
    assert content["networks"].keys() == {"canonicalizer", "encoder", "decoder"}
    assert all(network["difference"] < 1e-3 for network in content["networks"].values())


def test_only_segment_anything_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", "--segmenter.name", "grabcut", "--out", str(out)]) == 2
    assert "but grabcut is no segment_anything model; expected sam_mini" in capsys.readouterr().err
    assert not out.exists()
