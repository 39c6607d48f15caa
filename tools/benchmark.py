r"""What samrot costs, side by side with what it replaces, in one run.

python tools/benchmark.py OUT [--only predictor canonicalizer training encoder evaluation boxes \
    memory] [--sam sam_vit_b] [--photos 3] [--repeats 5] [--equiadapt FOLDER]

Each comparison runs its contestants in turn, ``repeats`` times over, so that a slow moment of the
machine hits all of them; what counts is the ratio of the medians. SAMs have random weights of the
real architecture: time does not depend on them. OUT gets benchmark.md and benchmark.json.

The canonicalize step of equiadapt (the package of the method's authors) is compared where FOLDER
holds it: pip install --target FOLDER --no-deps equiadapt kornia kornia_rs e2cnn hydra-core \
omegaconf antlr4-python3-runtime==4.9.3
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

import samrot
from samrot.canonicalizers import build_canonicalizer
from samrot.data.coco import CocoDataset
from samrot.data.coco_writer import write_scenes
from samrot.engines.evaluate import DataSettings, EvaluateSettings
from samrot.engines.photo_runner import PhotoRunner
from samrot.engines.prompt_sources import GroundTruthBoxes, xywh_to_xyxy
from samrot.geometry import actions
from samrot.losses import prior_loss
from samrot.segmenters import EncoderSettings, Prompts, SamSegmenter

PHOTO_HW = (768, 1024)
THUMBNAIL = 97
BATCH = 32
Timings = dict[str, list[float]]


def race(contestants: Mapping[str, Callable[[], object]], repeats: int) -> Timings:
    """Seconds of each contestant, each time; one round before that does not count."""
    seconds: Timings = {name: [] for name in contestants}
    for round_ in range(repeats + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def random_sam(name: str) -> Sam:
    """A SAM of that architecture with random weights."""
    torch.manual_seed(0)
    sam: Sam = sam_model_registry[name.removeprefix("sam_")]()
    return sam.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def photo(seed: int = 0, size_hw: tuple[int, int] = PHOTO_HW) -> np.ndarray:
    """Noise of a photo's size."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def boxes_on(size_hw: tuple[int, int], count: int) -> np.ndarray:
    """(count, 4) boxes."""
    random = np.random.default_rng(1)
    corners = random.uniform(0, 0.5, (count, 2)) * size_hw[::-1]
    return np.concatenate([corners, corners + random.uniform(20, 300, (count, 2))], axis=1)


def compare_predictor(arguments: argparse.Namespace) -> Timings:
    """``set_image`` of SamPredictor and of RobustPredictor."""
    sam, image = random_sam(arguments.sam), photo()
    plain, robust = SamPredictor(sam), samrot.RobustPredictor(sam)
    return race(
        {
            "SamPredictor.set_image": lambda: plain.set_image(image),
            "RobustPredictor.set_image": lambda: robust.set_image(image),
        },
        arguments.repeats,
    )


def compare_canonicalizer(arguments: argparse.Namespace) -> Timings:
    """The canonicalize step: a photo in, the canonical photo out."""
    image, judge = photo(), samrot.load_canonicalizer("c4")
    contestants: dict[str, Callable[[], object]] = {
        "samrot c4": lambda: actions.rotate_image(image, -judge.pose(image)),
    }
    if arguments.equiadapt:
        theirs = equiadapt_canonicalizer(arguments.equiadapt, PHOTO_HW)

        @torch.no_grad()
        def canonicalize() -> object:
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            return theirs.canonicalize(pixels)

        contestants = {"equiadapt, its G-WRN": canonicalize, **contestants}
    return race(contestants, arguments.repeats)


def equiadapt_canonicalizer(folder: Path, size_hw: tuple[int, int]) -> Any:
    """Equiadapt's canonicalizer with its escnn wide residual network, for photos of a size."""
    sys.path.append(str(folder))
    from equiadapt.images.canonicalization.discrete_group import (
        GroupEquivariantImageCanonicalization,
    )
    from equiadapt.images.canonicalization_networks import ESCNNWRNEquivariantNetwork
    from omegaconf import OmegaConf

    side = THUMBNAIL - 1
    network = ESCNNWRNEquivariantNetwork(
        (3, side, side), out_channels=32, kernel_size=9, num_layers=3
    )
    options = OmegaConf.create({"beta": 1.0, "input_crop_ratio": 0.9, "resize_shape": side})
    return GroupEquivariantImageCanonicalization(network, options, (3, *size_hw)).eval()


def compare_training(arguments: argparse.Namespace) -> Timings:
    """One training step of a canonicalizer with the prior loss, on a batch of thumbnails."""
    thumbnails = torch.randint(0, 256, (BATCH, 3, THUMBNAIL, THUMBNAIL), dtype=torch.uint8)
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0])
    contestants: dict[str, Callable[[], object]] = {}
    if arguments.equiadapt:
        theirs = equiadapt_canonicalizer(arguments.equiadapt, (THUMBNAIL, THUMBNAIL)).train()
        # e2cnn builds its filters anew in every step of training, which is part of its step.
        optimizer = torch.optim.AdamW(theirs.parameters())

        def their_step() -> None:
            optimizer.zero_grad()
            theirs.device = torch.device("cpu")
            theirs.get_groupelement(thumbnails.float() / 255)
            theirs.get_prior_regularization_loss().backward()
            optimizer.step()

        contestants["equiadapt, its G-WRN"] = their_step
    for architecture, name in (("gwrn", "G-WRN"), ("gcnn", "G-CNN")):
        for bfloat16 in (False, True):
            step = _own_step(architecture, bfloat16, thumbnails, upright)
            contestants[f"samrot {name}, {'bfloat16' if bfloat16 else 'float32'}"] = step
    return race(contestants, arguments.repeats)


def _own_step(
    architecture: str, bfloat16: bool, thumbnails: torch.Tensor, upright: torch.Tensor
) -> Callable[[], None]:
    canonicalizer = build_canonicalizer(architecture, size=THUMBNAIL)
    optimizer = torch.optim.AdamW(canonicalizer.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, bfloat16):
            images = canonicalizer.normalise(thumbnails)
            logits = canonicalizer.network(images.contiguous(memory_format=torch.channels_last))
        prior_loss(logits.float(), upright).backward()
        optimizer.step()

    return step


def compare_evaluation(arguments: argparse.Namespace) -> Timings:
    """Photos with their boxes, at one angle and at four; masks up to RLE for samrot."""
    sam = random_sam(arguments.sam)
    with TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        write_scenes(scenes, arguments.photos, seed=0)
        images, annotations = scenes / "images", scenes / "annotations.json"
        dataset = CocoDataset.load(images, annotations)
        plain = SamPredictor(sam)
        fast = EncoderSettings(attention="sdpa", dtype="bfloat16")

        def loop(turns: range) -> None:
            for image_id in dataset.image_ids:
                upright = dataset.read(image_id)
                for k in turns:
                    _plain_turn(plain, upright, _boxes(dataset, image_id), k)

        def averaged() -> None:
            for image_id in dataset.image_ids:
                upright = dataset.read(image_id)
                turns = [
                    _plain_turn(plain, upright, _boxes(dataset, image_id), k) for k in range(4)
                ]
                np.mean(
                    [actions.rotate_masks(logits, -k) for k, logits in enumerate(turns)], axis=0
                )

        def runner(method: str, encoder: EncoderSettings | None = None) -> Callable[[], None]:
            settings = EvaluateSettings(
                data=DataSettings(images=str(images), annotations=str(annotations)),
                out=folder,
                methods=[method],
            )
            run = PhotoRunner(
                settings,
                dataset,
                GroundTruthBoxes(dataset),
                SamSegmenter(sam, encoder=encoder),
                samrot.load_canonicalizer("c4"),
                overlap=sam.device.type != "cpu",
            )

            return lambda: run.run(dataset.image_ids, lambda record: None)

        return race(
            {
                "SamPredictor, upright": lambda: loop(range(1)),
                "SamPredictor, four turns": lambda: loop(range(4)),
                "test-time augmentation over C4": averaged,
                "samrot none, four angles": runner("none"),
                "samrot canonical, four angles": runner("canonical"),
                "the same, sdpa and bfloat16": runner("canonical", fast),
            },
            arguments.repeats,
        )


def _boxes(dataset: CocoDataset, image_id: int) -> np.ndarray:
    return xywh_to_xyxy([instance["bbox"] for instance in dataset.instances(image_id)])


def _plain_turn(
    plain: SamPredictor, upright: np.ndarray, boxes_xyxy: np.ndarray, k: int
) -> np.ndarray:
    image = actions.rotate_image(upright, k)
    turned = actions.rotate_boxes(boxes_xyxy, k, (upright.shape[0], upright.shape[1]))
    plain.set_image(image)
    resized = torch.as_tensor(plain.transform.apply_boxes(turned, image.shape[:2]))
    logits, _, _ = plain.predict_torch(
        None, None, resized.float().to(plain.device), multimask_output=False, return_logits=True
    )
    return logits.cpu().numpy()


def compare_encoder(arguments: argparse.Namespace) -> Timings:
    """The image encoder: segment-anything's own, and faster ones."""
    sam, image = random_sam(arguments.sam), photo()
    device = str(next(sam.parameters()).device)
    variants = {
        "segment-anything": EncoderSettings(),
        "bfloat16": EncoderSettings(dtype="bfloat16"),
        "sdpa": EncoderSettings(attention="sdpa"),
        "sdpa, bfloat16": EncoderSettings(attention="sdpa", dtype="bfloat16"),
        "sdpa, bfloat16, channels last": EncoderSettings(
            attention="sdpa", dtype="bfloat16", channels_last=True
        ),
    }
    if device != "cpu":
        variants["sdpa, bfloat16, compiled"] = EncoderSettings(
            attention="sdpa", dtype="bfloat16", compile=True
        )
    segmenters = {name: SamSegmenter(sam, encoder=chosen) for name, chosen in variants.items()}
    return race(
        {name: partial(segmenter.encode, image) for name, segmenter in segmenters.items()},
        arguments.repeats,
    )


def compare_boxes(arguments: argparse.Namespace) -> Timings:
    """Decoding as the number of boxes in a photo grows."""
    predictor = samrot.RobustPredictor(random_sam(arguments.sam))
    predictor.set_image(photo())

    def decode(count: int) -> Callable[[], object]:
        prompts = Prompts(boxes_xyxy=boxes_on(PHOTO_HW, count))
        return lambda: predictor.predict_prompts(prompts)

    return race({f"{count} boxes": decode(count) for count in (1, 10, 100)}, arguments.repeats)


def compare_memory(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak memory of a process that segments 10, and 1,000, boxes of one photo; GB."""
    command = [sys.executable, __file__, "--boxes-alone", "--sam", arguments.sam]
    return {
        f"{count} boxes": float(subprocess.check_output([*command, str(count)], text=True))
        for count in (10, 1000)
    }


def peak_with_boxes(sam: str, count: int) -> float:
    """Segment boxes in this process; its peak memory, GB."""
    predictor = samrot.RobustPredictor(random_sam(sam))
    predictor.set_image(photo())
    found = predictor.predict_prompts(Prompts(boxes_xyxy=boxes_on(PHOTO_HW, count)))
    assert found.masks.shape == (count, 1, *PHOTO_HW)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


COMPARISONS: dict[str, Callable[[argparse.Namespace], Timings]] = {
    "predictor": compare_predictor,
    "canonicalizer": compare_canonicalizer,
    "training": compare_training,
    "encoder": compare_encoder,
    "evaluation": compare_evaluation,
    "boxes": compare_boxes,
}


def table(title: str, timings: Timings) -> str:
    """Medians, spread, and ratios to the first contestant."""
    first = statistics.median(next(iter(timings.values())))
    lines = [
        f"**{title}**",
        "",
        "| what | median, s | least to most | ratio |",
        "|---|---|---|---|",
    ]
    for name, seconds in timings.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.4g} to {max(seconds):.4g}"
        lines.append(f"| {name} | {median:.4g} | {spread} | {median / first:.3f} |")
    return "\n".join([*lines, ""])


def machine() -> str:
    """What this ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main() -> None:
    """Run the comparisons that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--only", nargs="+", choices=(*COMPARISONS, "memory"))
    parser.add_argument(
        "--sam", default="sam_vit_b", choices=("sam_vit_b", "sam_vit_l", "sam_vit_h")
    )
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--equiadapt", type=Path)
    parser.add_argument("--boxes-alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.boxes_alone:
        print(peak_with_boxes(arguments.sam, int(arguments.out)))
        return
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"machine": machine(), "sam": arguments.sam}
    parts = [f"{machine()}; {arguments.sam} with random weights; {arguments.repeats} repeats", ""]
    for name in arguments.only or (*COMPARISONS, "memory"):
        if name == "memory":
            content[name] = compare_memory(arguments)
            rows = [f"| {row} | {value:.2f} |" for row, value in content[name].items()]
            parts.append("\n".join(["| peak memory | GB |", "|---|---|", *rows, ""]))
        else:
            content[name] = COMPARISONS[name](arguments)
            title = str(COMPARISONS[name].__doc__)
            parts.append(table(title.removesuffix("."), content[name]))
        print(parts[-1], flush=True)
        (out / "benchmark.md").write_text("\n".join(parts))
        (out / "benchmark.json").write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
