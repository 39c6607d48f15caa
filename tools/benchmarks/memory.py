"""Peak memory, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

import samrot
from benchmarks.decoders import BOXES, THEIRS, WAYS, decode_ours, decode_theirs
from benchmarks.racing import Figures
from benchmarks.subjects import (
    PHOTO_HW,
    Options,
    boxes_on,
    build_sam,
    photo,
    photo_loop,
    write_coco_like,
)
from samrot.data.coco import CocoDataset, DataSettings
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.segmenters import Prompts, SamSegmenter, SegmenterSettings


def compare_memory(options: Options) -> Figures:
    """Peak memory as boxes in a photo, and photos in an evaluation, grow; and of decoders.

    Decoders are given noise for an embedding, since what the encoder needs would hide them. The
    evaluations are of the filled box, so that thousands of photos take minutes: what they hold
    besides a segmenter shows undiluted. Two of their photos go through the model as well.
    """
    figures = {
        f"{options.sam}, {count} boxes": {"GB": _peak(_segment_boxes, options.sam, count)}
        for count in (10, 1000)
    }
    for way in () if options.sam == "sam_mini" else (THEIRS, *WAYS):  # of the official kind
        peak = _peak(_decode_noise, options.sam, way)
        figures[f"{options.sam}, {BOXES} boxes, decoder alone: {way}"] = {"GB": peak}
    for count in options.memory_photos:
        with TemporaryDirectory() as folder:
            write_coco_like(Path(folder) / "data", count)
            figures[f"box, {count} photos"] = {"GB": _peak(_evaluate, folder)}
            figures[f"{options.sam}, two of {count} photos"] = {
                "GB": _peak(_look_at_two, options.sam, folder)
            }
    return figures


def _peak(work: Callable[..., None], *arguments: object) -> float:
    """GB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measured, work, *arguments).result()


def _measured(work: Callable[..., None], *arguments: object) -> float:
    work(*arguments)
    # getrusage would count the parent's memory too.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("/proc/self/status has no VmHWM; memory is measured on Linux only")


def _segment_boxes(sam: str, count: int) -> None:
    predictor = samrot.RobustPredictor(build_sam(sam))
    predictor.set_image(photo())
    found = predictor.predict_prompts(Prompts(boxes_xyxy=boxes_on(PHOTO_HW, count)))
    assert found.masks.shape == (count, 1, *PHOTO_HW)


class _Noise(nn.Module):
    """In place of SAM's image encoder."""

    img_size = 1024

    def forward(self, squares: Tensor) -> Tensor:
        return torch.randn(len(squares), 256, 64, 64, device=squares.device)


def _decode_noise(sam: str, way: str) -> None:
    model = build_sam(sam)
    model.image_encoder = _Noise()
    if way == THEIRS:
        decode_theirs(model)()
    else:
        decode_ours(SamSegmenter(model, decoder=WAYS[way]))()


def _look_at_two(sam: str, folder: str) -> None:
    data = Path(folder) / "data"
    dataset = CocoDataset.load(data / "images", data / "annotations.json")
    photo_loop(dataset, SamSegmenter(build_sam(sam)), methods=["canonical"], limit=2)()


def _evaluate(folder: str) -> None:
    data = Path(folder) / "data"
    evaluate(
        EvaluateSettings(
            data=DataSettings(
                images=str(data / "images"), annotations=str(data / "annotations.json")
            ),
            out=str(Path(folder) / "run"),
            segmenter=SegmenterSettings(name="box"),
            methods=["canonical"],
            angles=[0, 90],
        )
    )
