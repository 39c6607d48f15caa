"""The canonicalizer: its step before SAM, and its training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import samrot
from benchmarks.equiadapt_step import THUMBNAIL, equiadapt_canonicalizer
from benchmarks.racing import Timings, race
from benchmarks.subjects import PHOTO_HW, Options, device, photo
from samrot.canonicalizers import build_canonicalizer
from samrot.data.scenes import draw_scene
from samrot.robust.frames import find_frame
from samrot.training.losses import prior_loss

BATCH = 32


def compare_canonicalizer(options: Options) -> Timings:
    """The canonicalize step: a photo in, the canonical photo out.

    ``c4`` looks at the mirror image too where it is unsure: of soft noise, and not of a scene.
    """
    unsure, sure = photo(), draw_scene(np.random.default_rng(3), PHOTO_HW).image

    def step(canonicalizer: samrot.Canonicalizer, image: np.ndarray, tilt: str) -> object:
        return find_frame(image, canonicalizer, tilt=tilt).canonical_image(image)

    c4, so2 = (samrot.load_canonicalizer(name, device=device()) for name in ("c4", "so2"))
    contestants: dict[str, Callable[[], object]] = {
        "samrot c4, sure of the pose": partial(step, c4, sure, "quarter"),
        "samrot c4, unsure": partial(step, c4, unsure, "quarter"),
        "samrot so2, sure": partial(step, so2, sure, "quarter"),
        "samrot so2, unsure": partial(step, so2, unsure, "quarter"),
        "samrot so2, unsure, tilt undone": partial(step, so2, unsure, "full"),
    }
    if options.equiadapt:
        theirs = equiadapt_canonicalizer(options.equiadapt, PHOTO_HW)

        @torch.no_grad()
        def canonicalize() -> object:
            pixels = torch.from_numpy(sure).permute(2, 0, 1)[None].float() / 255
            return theirs.canonicalize(pixels)

        contestants = {"equiadapt, its G-WRN": canonicalize, **contestants}
    return race(contestants, options.repeats)


def compare_training(options: Options) -> Timings:
    """One training step of a canonicalizer with the prior loss, on a batch of thumbnails."""
    thumbnails = torch.randint(0, 256, (BATCH, 3, THUMBNAIL, THUMBNAIL), dtype=torch.uint8)
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0])
    contestants: dict[str, Callable[[], object]] = {}
    if options.equiadapt:
        theirs = equiadapt_canonicalizer(options.equiadapt, (THUMBNAIL, THUMBNAIL)).train()
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
    return race(contestants, options.repeats)


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
