r"""What samrot costs, side by side with what it replaces, in one run.

python tools/benchmark.py OUT [--only predictor canonicalizer training encoder decoder batches \
    evaluation stages images sizes boxes poses executors masks memory] [--sam sam_vit_b] \
    [--photos 3] [--repeats 5] [--equiadapt FOLDER] [--data IMAGES ANNOTATIONS] \
    [--memory-photos 500 5000]

Each comparison runs its contestants in turn, ``repeats`` times over, so that a slow moment of the
machine hits all of them; what counts is the ratio of the medians. SAMs have random weights of the
real architecture: time does not depend on them. OUT gets benchmark.md and benchmark.json.

The canonicalize step of equiadapt (the package of the method's authors) is compared where FOLDER
holds it (see ``benchmarks/equiadapt_step.py``); masks, where a COCO dataset is given.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.canonicalizers import compare_canonicalizer, compare_training
from benchmarks.decoders import compare_decoder
from benchmarks.encoders import compare_batches, compare_encoder, compare_masks
from benchmarks.many_photos import compare_executors, compare_poses
from benchmarks.memory import compare_memory
from benchmarks.photos import (
    compare_boxes,
    compare_evaluation,
    compare_images,
    compare_predictor,
    compare_sizes,
    compare_stages,
)
from benchmarks.racing import Figures, Timings, figures_table, timings_table
from benchmarks.subjects import Options

TIMINGS: dict[str, Callable[[Options], Timings]] = {
    "predictor": compare_predictor,
    "canonicalizer": compare_canonicalizer,
    "training": compare_training,
    "encoder": compare_encoder,
    "decoder": compare_decoder,
    "batches": compare_batches,
    "evaluation": compare_evaluation,
    "stages": compare_stages,
    "images": compare_images,
    "sizes": compare_sizes,
    "boxes": compare_boxes,
    "poses": compare_poses,
    "executors": compare_executors,
}
FIGURES: dict[str, Callable[[Options], Figures]] = {
    "masks": compare_masks,
    "memory": compare_memory,
}
SAMS = ("sam_mini", "sam_vit_b", "sam_vit_l", "sam_vit_h")


def machine() -> str:
    """What this ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main() -> None:
    """Run the comparisons that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=(*TIMINGS, *FIGURES))
    parser.add_argument("--sam", default="sam_vit_b", choices=SAMS)
    parser.add_argument("--photos", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--equiadapt", type=Path)
    parser.add_argument("--data", nargs=2, metavar=("IMAGES", "ANNOTATIONS"))
    parser.add_argument("--memory-photos", nargs="+", type=int, default=(500, 5000))
    arguments = vars(parser.parse_args())
    out, only = arguments.pop("out"), arguments.pop("only")
    options = Options(**arguments)
    if only is None:
        only = [name for name in (*TIMINGS, *FIGURES) if name != "masks" or options.data]
    elif "masks" in only and options.data is None:
        parser.error("masks needs --data IMAGES ANNOTATIONS, photos on which they mean something")
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"machine": machine(), "sam": options.sam}
    parts = [f"{machine()}; {options.sam}; {options.repeats} repeats"]
    for name in only:
        if name in TIMINGS:
            compare: Callable[[Options], Any] = TIMINGS[name]
            show: Callable[[Any], str] = timings_table
        else:
            compare, show = FIGURES[name], figures_table
        content[name] = compare(options)
        title = str(compare.__doc__).splitlines()[0].removesuffix(".")
        parts.append(f"**{title}**\n\n{show(content[name])}")
        print(parts[-1], flush=True)
        (out / "benchmark.md").write_text("\n\n".join(parts) + "\n")
        (out / "benchmark.json").write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
