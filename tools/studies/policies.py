"""Items about the bundled canonicalizers: when to trust them, and on which photos."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samrot.errors import InputError
from samrot.geometry.groups import C4
from studies.context import Context
from studies.evidence import Evidence
from studies.numbers import Number, of_one
from studies.precision import PlainRun, once

NEAREST_QUARTER_DEG = 45.0  # a photo is right, as Woehrer counts, that is left turned by no more


def traffic(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """Wrong poses, and average precision, where a share of the photos arrives upright."""
    for name in settings["canonicalizers"]:
        upright = context.said(name)
        masked = context.said_masked(name) if context.plain else None
        for share in settings["upright_shares"]:
            arrives = np.array([share, *[(1 - share) / 3] * 3])
            plain: np.ndarray | None = None
            for policy, poses in policies(upright, arrives, settings["gate"]).items():
                labels = {"canonicalizer": name, "upright share": share, "policy": policy}
                wrong = (poses != np.arange(C4.order)[:, None]) * arrives[:, None]
                mean = context.sample.mean(wrong.sum(axis=0))
                yield of_one(labels, "errors", len(context.sample), mean)
                if masked is None or context.plain is None:
                    continue
                poses = policies(masked, arrives, settings["gate"])[policy]
                found = context.plain.precision(segmented_turns(poses, arrives))
                plain = found if plain is None else plain  # that of "none", which is the first
                photos = len(context.plain.sample)
                yield of_one(labels, "AP", photos, found)
                yield of_one(labels, "AP less none's", photos, found - plain)


def policies(said: Evidence, arrives: np.ndarray, gate: float) -> dict[str, np.ndarray]:
    """What each policy takes the poses to be: (4, N), of the photos turned by 0, 90, 180, 270.

    Args:
        said: of the upright photos.
        arrives: (4,) share of the photos that arrive in each pose.
        gate: probability of another turn above which a photo is turned.
    """
    turned = said.turned
    other = turned[:, :, 1:].max(axis=2)
    return {
        "none": np.zeros(turned.shape[:2], dtype=int),
        "canonical": turned.argmax(axis=2),
        "gated": np.where(other > gate, turned.argmax(axis=2), 0),
        "pose_prior": (turned * arrives).argmax(axis=2),
    }


def segmented_turns(poses: np.ndarray, arrives: np.ndarray) -> np.ndarray:
    """(N, 4) shares of each photo that reach the segmenter turned by 0, 90, 180, 270 degrees."""
    left = (np.arange(C4.order)[:, None] - poses) % C4.order
    return np.einsum("knt,k->nt", np.eye(C4.order)[left], arrives)


def coverage(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """Accuracy of the surest photos."""
    for name in settings["canonicalizers"]:
        said = context.said(name)
        order = np.argsort(-said.probabilities.max(axis=1), kind="stable")
        for covered in settings["coverages"]:
            surest = order[: round(covered * len(order))]
            labels = {"canonicalizer": name, "coverage": covered}
            is_surest = np.isin(order, surest)[np.argsort(order)]
            yield accuracy_of(context, labels, said.correct, is_surest)


def literature(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """Accuracy, within 45 degrees, on the photos that Fischer et al.'s list labels, beside all."""
    if context.labels is None:
        raise InputError("literature needs --labels: file,label of Fischer et al.'s list")
    listed = read_labels(context.labels, context.said.paths)
    groups = {"all": listed == listed, "in their test set": (listed == 1) | (listed == 2)}
    groups |= {"left out there": listed == -1, "on the list": listed != 0}
    correct = {(name, "quarter turns"): context.said(name).correct for name in settings["turns"]}
    for name in settings["any_angle"]:
        errors_deg = context.said.angle_errors_deg(name)
        correct[name, "any angle"] = (errors_deg <= NEAREST_QUARTER_DEG).astype(float)
    for (name, turned), of_photos in correct.items():
        for group, members in groups.items():
            if members.any():
                labels = {
                    "canonicalizer": name, "turned by": turned, "which": group,
                    "number": int(members.sum()),
                }  # fmt: skip
                yield accuracy_of(context, labels, of_photos, members)


def accuracy_of(
    context: Context, labels: dict[str, Any], correct: np.ndarray, members: np.ndarray
) -> Number:
    """Accuracy on some of the photos, (N,) bool; of all, (N,), 1 where they are right."""
    of_members = np.where(members, correct, np.nan)
    return of_one(labels, "accuracy", int(members.sum()), context.sample.mean(of_members))


def read_labels(file: Path, photos: list[Path]) -> np.ndarray:
    """(N,) label of each photo on Fischer et al.'s list; 0 where it is not on it."""
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    label_of = {Path(row["file"]).stem: int(row["label"]) for row in rows}
    return np.array([label_of.get(path.stem, 0) for path in photos])


def protocols(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """The paper's protocol, the mean of each photo's own AP, beside AP of all photos at once."""
    plain = needed_run(context, "protocols")
    zeros = np.zeros(len(plain.sample), dtype=int)
    turns = {("none", name): zeros + turn for turn, name in enumerate(C4.names)}
    for name in settings["canonicalizers"]:
        turns[name, "any"] = context.said_masked(name).errors
    for (method, angle), left in turns.items():
        labels = {"method": method, "turned by": angle}
        at_once, alone = plain.precision(once(left)), plain.sample.mean(plain.alone(left))
        for quantity, drawn in (
            ("AP", at_once),
            ("AP per image", alone),
            ("AP per image less AP", alone - at_once),
        ):
            yield of_one(labels, quantity, len(plain.sample), drawn)


def needed_run(context: Context, item: str) -> PlainRun:
    """The plain segmenter's run.

    Raises:
        InputError: if there is none.
    """
    if context.plain is None:
        raise InputError(f"{item} needs --coco IMAGES ANNOTATIONS, photos with masks")
    return context.plain
