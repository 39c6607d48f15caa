"""Shared fixtures: small datasets, a tiny segmenter, and real photos where they are at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from segment_anything.build_sam import _build_sam
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from samrot.canonicalizers import Canonicalizer, Thumbnail, build_canonicalizer
from samrot.data.coco import CocoDataset
from samrot.data.coco_writer import write_scenes
from samrot.geometry.groups import D4
from samrot.geometry.pose import Pose
from samrot.segmenters import Encoding, Prompts, Segmentation

COCO_MINI = Path(__file__).parents[2] / "shared" / "coco-mini"
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker, and in what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """Real COCO photos beside the project."""
    if not COCO_MINI.is_dir():
        pytest.skip(f"real photos are not at hand ({COCO_MINI.name} is absent beside the project)")
    return COCO_MINI


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six procedural scenes as a COCO dataset."""
    folder = tmp_path_factory.mktemp("scenes") / "dataset"
    write_scenes(folder, 6, seed=5)
    return folder


@pytest.fixture
def scenes(scenes_folder: Path) -> CocoDataset:
    return CocoDataset.load(scenes_folder / "images", scenes_folder / "annotations.json")


class ThresholdSegmenter:
    """A segmenter that knows no rotation: what is brighter than its left neighbour, in the box."""

    name = "threshold"
    predicts_scores = True
    device = torch.device("cpu")

    def encode(self, image: np.ndarray) -> Encoding:
        grey = image.astype(np.int64).sum(axis=2)
        brighter = grey > np.roll(grey, 1, axis=1)
        return Encoding((image.shape[0], image.shape[1]), brighter)

    def decode(
        self,
        encoding: Encoding,
        prompts: Prompts,
        *,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> Segmentation:
        height, width = encoding.size_hw
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        boxes = prompts.boxes_xyxy
        assert boxes is not None
        inside = np.stack([(x > a) & (y > b) & (x < c) & (y < d) for a, b, c, d in boxes])
        masks = torch.from_numpy(inside & encoding.features)[:, None]
        logits = masks.float() * 2 - 1
        # The last bits of the boxes show in the scores, so that a frame that is off is seen.
        scores = torch.from_numpy(boxes.sum(axis=1, keepdims=True))
        return Segmentation(logits if return_logits else masks, scores, logits[..., :4, :4])


@pytest.fixture
def threshold_segmenter() -> ThresholdSegmenter:
    return ThresholdSegmenter()


def write_coco(folder: Path, content: object, images: dict[str, np.ndarray]) -> tuple[Path, Path]:
    """Write a small dataset; returns its image folder and annotation file."""
    (folder / "images").mkdir(parents=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / "images" / name)
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "images", path


def random_photo(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def small_vit() -> Sam:
    """The official architecture, thin: real sizes of input, embedding and masks."""
    torch.manual_seed(0)
    sam: Sam = _build_sam(
        encoder_embed_dim=32, encoder_depth=2, encoder_num_heads=2, encoder_global_attn_indexes=[1]
    )
    return sam.eval()


def small_sam(seed: int = 0) -> Sam:
    """The official parts on a square of 256, with positions, biases and norms that matter."""
    torch.manual_seed(seed)
    encoder = ImageEncoderViT(
        img_size=256, embed_dim=32, depth=2, num_heads=2, out_chans=256, use_rel_pos=True,
        window_size=14, global_attn_indexes=(1,),
    )  # fmt: skip
    decoder = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048),
    )
    sam = Sam(encoder, PromptEncoder(256, (16, 16), (256, 256), 16), decoder)
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            if parameter.ndim == 1 or "rel_pos" in name or "pos_embed" in name:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    return sam.eval()


class SourceOfPoses:
    """A pose source that always says the same, as a canonicalizer would."""

    group = D4
    thumbnail = Thumbnail(33)

    def __init__(self, pose: Pose) -> None:
        self.fixed = pose

    def estimate(self, image: np.ndarray) -> Pose:
        return self.fixed


def small_d4() -> Canonicalizer:
    """A canonicalizer for D4 with random weights, ready for inference."""
    torch.manual_seed(3)
    canonicalizer = build_canonicalizer(
        "orbit_cnn", group="d4", size=33, mirror_average=False, widths=[16, 32]
    )
    torch.nn.init.normal_(canonicalizer.network.hand.weight)
    return canonicalizer.eval()


def small_options(architecture: str) -> dict[str, Any]:
    """Options that make a canonicalizer's network small."""
    if architecture.startswith("orbit_lite"):
        return {"stages": 2, "frozen_stages": 1}
    return {"widths": [16, 32] if architecture == "orbit_cnn" else [4, 8]}


def write_clouds(path: Path, *, num_points: int = 48, num_each: int = 6) -> Path:
    """Flat discs, upright poles and cones as an NPZ of clouds, z up, headings as they come."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"names": np.array(["disc", "pole", "cone"])}
    for split in ("train", "test"):
        clouds, labels = [], []
        for label, (wide, high) in enumerate([(1.0, 0.05), (0.05, 1.0), (0.6, 0.8)]):
            for _ in range(num_each):
                flat = rng.normal(size=(num_points, 2)) * wide
                height = high * rng.uniform(size=(num_points, 1)) ** 2  # denser below
                flat *= np.where(label == 2, 1 - height / high, 1.0)
                clouds.append(np.hstack([flat, height]))
                labels.append(label)
        arrays |= {f"points_{split}": np.array(clouds), f"labels_{split}": np.array(labels)}
    np.savez(path, **arrays)
    return path


CLASSES = ("blue", "green", "red")


def coloured_photo(label: int, seed: int, size_hw: tuple[int, int] = (16, 16)) -> np.ndarray:
    """A photo whose colour tells its class, brighter above than below: upright."""
    rng = np.random.default_rng([label, seed])
    photo = rng.integers(0, 60, (*size_hw, 3))
    photo[..., 2 - label] += 60
    photo += np.linspace(120, 0, size_hw[0], dtype=int)[:, None, None]
    return photo.astype(np.uint8)


def write_classes(folder: Path, *, num_each: int = 3) -> Path:
    """Class folders of coloured photos, PNG."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for n in range(num_each):
            Image.fromarray(coloured_photo(label, n)).save(folder / name / f"{n}.png")
    return folder
