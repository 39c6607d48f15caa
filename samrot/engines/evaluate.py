"""``samrot evaluate``: score a segmenter on rotated COCO, with and without canonicalization."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from samrot.canonicalizers import load_canonicalizer
from samrot.data.coco import CocoDataset
from samrot.engines.photo_runner import PhotoRunner
from samrot.engines.processes import launch
from samrot.engines.prompt_sources import PromptSettings, build_prompt_source
from samrot.engines.run_folder import RunFolder
from samrot.engines.summary import summarise, summary_table
from samrot.errors import InputError, MissingFileError, check_choice
from samrot.files import naming
from samrot.scoring import SCORERS
from samrot.segmenters import EncoderSettings, Segmenter, load_segmenter

METHODS = ("none", "canonical", "oracle")
ANGLES = (0, 90, 180, 270)
DETECTOR = "detector"  # that segments by itself
SCORES = ("auto", "detector", "segmenter", "product")


@dataclass(kw_only=True)
class DataSettings:
    """A COCO-format dataset.

    Args:
        images: folder of the photos.
        annotations: COCO JSON.
    """

    images: str
    annotations: str


@dataclass(kw_only=True)
class SegmenterChoice:
    """Which segmenter.

    Args:
        name: sam_mini, sam_vit_b, sam_vit_l or sam_vit_h.
        checkpoint: weight file; None for the bundled or official one.
    """

    name: str = "sam_mini"
    checkpoint: str | None = None


@dataclass(kw_only=True)
class SegmenterSettings(SegmenterChoice):
    """Which segmenter, and how it is asked.

    Args:
        name: sam_mini, sam_vit_b, sam_vit_l, sam_vit_h, transformers, grabcut, box (fills the box)
            or detector (the masks of the live detector itself).
        checkpoint: weight file, folder or hub id; None for the bundled or official one.
        encoder: of a segment_anything model, faster.
        multimask: decode three masks and keep the one of the highest predicted IoU.
        refine: times that the low-resolution logits are fed back as mask input.
    """

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    multimask: bool = False
    refine: int = 0

    def load(self, device: str) -> Segmenter:
        """The segmenter, on that device."""
        return load_segmenter(
            self.name, checkpoint=self.checkpoint, device=device, encoder=self.encoder
        )


@dataclass(kw_only=True)
class CanonicalizerChoice:
    """Which canonicalizer.

    Args:
        name: c4, c4_aspect, or the path of a checkpoint.
    """

    name: str = "c4"


@dataclass(kw_only=True)
class EvaluateSettings:
    """Settings of ``samrot evaluate``.

    Args:
        data: a COCO-format dataset of upright photos.
        out: run folder; one that exists with the same settings is continued.
        segmenter: which segmenter.
        canonicalizer: which canonicalizer.
        methods: none (plain), canonical, oracle (turned back by the known angle).
        angles: 0, 90, 180, 270: counter-clockwise turns of the photos.
        prompts: boxes to prompt with.
        images_per_batch: canonical images encoded at once; more may be faster on a GPU, and change
            masks by rounding.
        score: of a mask: detector, segmenter (predicted IoU), product; auto takes the detector's
            where there is one.
        scorer: pycocotools, or faster-coco-eval for the same numbers sooner.
        limit: of the number of photos, for a quick look.
        device: cpu, cuda, ...
        devices: processes on this machine that share the photos.
        nodes: machines; with more than one, start samrot by ``torchrun``.
    """

    data: DataSettings
    out: str
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    methods: list[str] = field(default_factory=lambda: ["none", "canonical"])
    angles: list[int] = field(default_factory=lambda: list(ANGLES))
    prompts: PromptSettings = field(default_factory=PromptSettings)
    images_per_batch: int = 1
    score: str = "auto"
    scorer: str = SCORERS[0]
    limit: int | None = None
    device: str = "cpu"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        for name, values, choices in (
            ("methods", self.methods, METHODS),
            ("angles", self.angles, ANGLES),
        ):
            for value in values:
                check_choice(f"{name} entry", value, choices)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name} is {values}; expected each once, and at least one")
        check_choice("score", self.score, SCORES)
        check_choice("scorer", self.scorer, SCORERS)
        if self.segmenter.name == DETECTOR:
            if self.prompts.source != DETECTOR:
                raise InputError(
                    f"segmenter.name is {DETECTOR}, but prompts.source {self.prompts.source!r}; "
                    f"set it to {DETECTOR}, whose masks are scored"
                )
            if self.segmenter != SegmenterSettings(name=DETECTOR) or self.score != "auto":
                raise InputError(
                    f"segmenter.name is {DETECTOR}, which takes no other segmenter setting and no "
                    "score; leave them out"
                )
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}; expected a positive number of photos")
        if self.images_per_batch < 1:
            raise InputError(f"images_per_batch is {self.images_per_batch}; expected at least 1")


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Run, or continue, an evaluation; several processes share its photos.

    Returns:
        What ``summary.json`` holds.

    Raises:
        InputError: if settings or data are unusable; photos that are done stay done.
    """
    dataset = CocoDataset.load(settings.data.images, settings.data.annotations)
    image_ids = dataset.image_ids[: settings.limit]
    for image_id in image_ids:
        if not dataset.image_path(image_id).is_file():
            raise MissingFileError(
                f"image {dataset.image_path(image_id)} does not exist, but {dataset.source} lists "
                "it; restore the file, or remove the image from the JSON"
            )
    fabric = launch(settings.device, settings.devices, settings.nodes)
    device = str(fabric.device)
    source = build_prompt_source(settings.prompts, dataset, settings.angles, device)
    segmenter = None
    if settings.segmenter.name != DETECTOR:
        segmenter = settings.segmenter.load(device)
    canonicalizer = None
    if "canonical" in settings.methods:
        canonicalizer = load_canonicalizer(settings.canonicalizer.name, device=device)
    with fabric.rank_zero_first():
        run = RunFolder.open(settings.out, settings)
    photo_runner = PhotoRunner(
        settings, dataset, source, segmenter, canonicalizer, overlap=fabric.device.type != "cpu"
    )
    if not (run.path / "summary.json").is_file():
        done = {record["image_id"] for record in read_records(run, image_ids)}
        fabric.barrier()  # before any process writes, so that all agree on what is left
        left = [image_id for image_id in image_ids if image_id not in done]
        share = left[fabric.global_rank :: fabric.world_size]
        _run_photos(run, photo_runner, share, fabric.global_rank, len(done))
        del photo_runner, segmenter, canonicalizer  # scoring needs the memory
        fabric.barrier()
        if fabric.is_global_zero:
            seconds = time.perf_counter()
            summary = summarise(
                partial(read_records, run, image_ids),
                dataset,
                image_ids,
                source.description,
                settings,
                run,
            )
            summary["seconds"]["score"] = round(time.perf_counter() - seconds, 3)
            run.write_text("summary.md", summary_table(summary))
            run.write_json("summary.json", summary)
        fabric.barrier()
    result: dict[str, Any] = json.loads((run.path / "summary.json").read_text())
    return result


def _run_photos(
    run: RunFolder, photo_runner: PhotoRunner, image_ids: list[int], rank: int, num_done: int
) -> None:
    """Append one line per photo to this process's file of records."""
    path = run.path / ("photos.jsonl" if rank == 0 else f"photos_{rank}.jsonl")
    if path.exists():
        _drop_torn_line(path)
    progress = tqdm(
        desc="evaluate", unit="image", initial=num_done,
        total=num_done + len(image_ids), disable=rank != 0,
    )  # fmt: skip
    with progress:

        def write(record: dict[str, Any]) -> None:
            with naming(path), path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            progress.update()

        photo_runner.run(image_ids, write)


def read_records(run: RunFolder, image_ids: list[int]) -> Iterator[dict[str, Any]]:
    """The finished photos of a run, one record at a time; a torn last line is not one."""
    wanted = set(image_ids)
    for path in sorted(run.path.glob("photos*.jsonl")):
        with path.open() as file:
            for line in file:
                if line.endswith("\n"):
                    record = json.loads(line)
                    if record["image_id"] in wanted:
                        yield record


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed run left of its last line."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
