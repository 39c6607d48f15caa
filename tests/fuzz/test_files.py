"""Files of every kind that samrot reads, broken in every way."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as safetensors_bytes

from samrot.canonicalizers import build_canonicalizer, load_canonicalizer
from samrot.data.coco import CocoDataset
from samrot.data.images import FORMATS, exif_orientation, read_image
from samrot.data.prompt_files import read_prompts
from samrot.evaluation.prompts import PromptSettings, read_detections
from samrot.segmenters.sam import load_official
from tests.conftest import random_photo
from tests.fuzz.inputs import JSON, broken_bytes, broken_json, examples, outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def photo_bytes(format_name: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image = Image.fromarray(random_photo(0, 12, 16))
    image.save(
        file, format=format_name, **({} if format_name in ("BMP", "GIF") else {"exif": exif})
    )
    return file.getvalue()


Image.init()
PHOTOS = {name: photo_bytes(name) for name in FORMATS if name in Image.SAVE}


@given(content=st.sampled_from(sorted(PHOTOS)).flatmap(lambda name: broken_bytes(PHOTOS[name])))
@examples(150)
def test_photos(content: bytes, folder: Path) -> None:
    path = folder / "photo.jpg"
    path.write_bytes(content)
    image = outcome(lambda: read_image(path, apply_exif=False))
    assert image is None or (image.dtype == np.uint8 and image.shape[2] == 3)
    orientation = outcome(lambda: exif_orientation(path))
    assert orientation is None or isinstance(orientation, int)


NETWORK = build_canonicalizer("gcnn", size=17, widths=[1, 2]).network.state_dict()
HEADER = {
    "format": "samrot-canonicalizer", "architecture": "gcnn", "group": "C4", "size": 17,
    "frame": "square", "mirror_average": True, "aspect_log_odds": 0.0, "base": None,
    "options": {"widths": [1, 2]}, "trained_on": "AAAAAAAAAAA=",
}  # fmt: skip


def load_and_use(path: Path) -> bool:
    pose = load_canonicalizer(path).estimate(random_photo(0, 20, 30))
    assert pose.probabilities is not None
    return bool(np.isfinite(pose.probabilities).all())


@given(header=broken_json(HEADER) | JSON)
@examples(60)
def test_headers(header: Any, folder: Path) -> None:
    path = folder / "header.safetensors"
    path.write_bytes(safetensors_bytes(NETWORK, {"samrot": json.dumps(header)}))
    assert outcome(lambda: load_and_use(path)) in (True, None)


@given(content=broken_bytes(safetensors_bytes(NETWORK, {"samrot": json.dumps(HEADER)}), head=2500))
@examples(60)
def test_safetensors(content: bytes, folder: Path) -> None:
    path = folder / "bytes.safetensors"
    path.write_bytes(content)
    assert outcome(lambda: load_and_use(path)) in (True, None)


class Tiny(torch.nn.Linear):
    """In place of a SAM."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.device = torch.device("cpu")
        self.image_encoder = type("Encoder", (), {"img_size": 64})


def torch_bytes(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


TENSORS = st.sampled_from(
    [
        torch.zeros(2), torch.zeros(2, dtype=torch.int32), torch.zeros(2).to_sparse(),
        torch.zeros(2, device="meta"), torch.full((2,), torch.nan), torch.zeros(2).half(),
    ]
)  # fmt: skip
STATES = st.dictionaries(
    st.sampled_from(["weight", "bias", "x", 1]), TENSORS | st.integers() | st.none(), max_size=3
)


@given(
    content=st.one_of(
        broken_bytes(torch_bytes(torch.nn.Linear(2, 2).state_dict()), head=700),
        STATES.map(torch_bytes),
        JSON.map(torch_bytes),
    )
)
@examples(60)
def test_pth(content: bytes, folder: Path) -> None:
    path = folder / "sam.pth"
    path.write_bytes(content)
    outcome(lambda: load_official("sam_vit_b", Tiny, path, "cpu"))  # type: ignore[arg-type]


SQUARE = {"category_id": 1, "image_id": 1, "iscrowd": 0, "bbox": [2, 3, 8, 7], "area": 56}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [
        {**SQUARE, "id": 1, "segmentation": [[2, 3, 10, 3, 10, 10, 2, 10]]},
        {**SQUARE, "id": 2, "segmentation": {"size": [20, 30], "counts": [0, 100, 500]}},
        {**SQUARE, "id": 3, "segmentation": {"size": [20, 30], "counts": "T3d0000000000Pl0"}},
    ],
}
DETECTIONS = [
    {"image_id": 1, "category_id": 1, "bbox": [2, 3, 8, 7], "score": 0.5},
    {"image_id": 1, "category_id": 1, "bbox": [0, 0, 30, 20], "score": 1},
]


def load_coco(folder: Path, content: Any) -> CocoDataset:
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    dataset = CocoDataset.load(folder, path)
    for image_id in dataset.image_ids:
        dataset.instances(image_id)
        for annotation in dataset.annotations_by_image[image_id]:
            assert dataset.mask(annotation).shape == dataset.size_hw(image_id)
    return dataset


@given(content=broken_json(COCO))
@examples(150)
def test_annotations(content: Any, folder: Path) -> None:
    outcome(lambda: load_coco(folder, content))


@given(content=broken_json(DETECTIONS))
@examples(100)
def test_detections(content: Any, folder: Path) -> None:
    dataset = CocoDataset(folder, {**COCO, "annotations": []}, "annotations.json")
    path = folder / "detections.json"
    path.write_text(json.dumps(content))
    found = outcome(lambda: read_detections(path, dataset, PromptSettings()))
    assert found is None or set(found) <= {1}


PROMPTS = {"a.png": [{"box": [1, 2, 3, 4], "points": [[1, 2], [3, 4]], "labels": [1, 0]}]}


@given(content=broken_json(PROMPTS))
@examples(100)
def test_prompts(content: Any, folder: Path) -> None:
    path = folder / "prompts.json"
    path.write_text(json.dumps(content))
    outcome(lambda: read_prompts(path))


@given(text=st.text(max_size=40), suffix=st.sampled_from([".csv", ".json"]))
@examples(60)
def test_prompt_files(text: str, suffix: str, folder: Path) -> None:
    path = folder / f"p{suffix}"
    path.write_text(text, encoding="utf-8", errors="replace")
    outcome(lambda: read_prompts(path))
