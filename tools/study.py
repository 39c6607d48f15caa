r"""The paper's open questions, as far as they are answered by what a canonicalizer says of photos.

python tools/study.py OUT --train --data FOLDER --masked IMAGES ANNOTATIONS [--held-out FILE] \
    [--jobs N] [--device auto] [--only ITEM ...] [--quick]
python tools/study.py OUT --photos FOLDER [--labels FILE.csv] [--only traffic coverage \
    literature] [--quick]

Each item is a file in configs/study, and becomes OUT/ITEM.csv: one number a row, its 95 % interval
(bootstrap over the photos), the command and the commit; OUT/study.md shows them. What the
canonicalizers say of each photo is kept in OUT, so that the same command goes on. Photos are taken
to be upright as they are displayed; what is said of their turns follows from the law. --quick takes
24 of the photos.

With --train, the canonicalizers that the items compare are trained first, into OUT/trained; those
that are finished stay. --quick trains the first and the last of each item, for some steps.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from studies.settings import read_settings
from studies.trainings import Photos, list_trainings, train_all
from tqdm import tqdm

import samrot
from samrot.data.images import list_images
from samrot.evaluation.table import markdown
from samrot.files import write_text
from samrot.runtime.run_folder import describe_environment
from samrot.scoring.resampled import draw_counts, interval

RESAMPLES = 1000
QUICK = 24


class Number(NamedTuple):
    """One row of the study.

    Args:
        what: settings of the row, by name.
        of_photos: (N,) what is averaged, a number a photo.
    """

    what: dict[str, Any]
    of_photos: np.ndarray


class Said:
    """Probabilities of each pose of each photo, by canonicalizer; kept on disk.

    Args:
        folder: where they are kept.
        paths: the photos.
    """

    def __init__(self, folder: Path, paths: list[Path]) -> None:
        self.folder, self.paths = folder, paths

    def __call__(self, name: str) -> np.ndarray:
        """(N, 4) of a canonicalizer."""
        file = self.folder / f"said_{name}.json"
        kept: dict[str, list[float]] = json.loads(file.read_text()) if file.is_file() else {}
        missing = [path for path in self.paths if path.name not in kept]
        canonicalizer = samrot.load_canonicalizer(name) if missing else None
        for number, path in enumerate(tqdm(missing, desc=name, unit="image"), 1):
            assert canonicalizer is not None
            pose = canonicalizer.estimate(samrot.read_image(path))
            kept[path.name] = np.asarray(pose.probabilities).tolist()
            if number % 100 == 0 or number == len(missing):
                write_text(file, json.dumps(kept))
        return np.array([kept[path.name] for path in self.paths])


def traffic(said: Said, settings: dict[str, Any], labels: Path | None) -> Iterator[Number]:
    """Share of wrong poses where a share of the photos arrives upright."""
    for name in settings["canonicalizers"]:
        upright = said(name)
        # Of photos turned by k the law says the same, rolled by k.
        turned = np.stack([np.roll(upright, k, axis=1) for k in range(4)])
        for share in settings["upright_shares"]:
            arrives = np.array([share, *[(1 - share) / 3] * 3])
            other = turned[:, :, 1:].max(axis=2)
            found = {
                "none": np.zeros(turned.shape[:2], dtype=int),
                "canonical": turned.argmax(axis=2),
                "gated": np.where(other > settings["gate"], turned.argmax(axis=2), 0),
                "pose_prior": (turned * arrives).argmax(axis=2),
            }
            for policy, poses in found.items():
                wrong = poses != np.arange(4)[:, None]
                what = {"canonicalizer": name, "upright share": share, "policy": policy}
                yield Number({**what, "quantity": "errors"}, (wrong * arrives[:, None]).sum(0))


def coverage(said: Said, settings: dict[str, Any], labels: Path | None) -> Iterator[Number]:
    """Accuracy of the surest photos."""
    for name in settings["canonicalizers"]:
        shares = said(name)
        order = np.argsort(-shares.max(axis=1), kind="stable")
        for covered in settings["coverages"]:
            surest = order[: round(covered * len(order))]
            right = (shares[surest].argmax(axis=1) == 0).astype(float)
            what = {"canonicalizer": name, "coverage": covered, "quantity": "accuracy"}
            yield Number(what, right)


def literature(said: Said, settings: dict[str, Any], labels: Path | None) -> Iterator[Number]:
    """Accuracy on the photos that Fischer et al.'s list labels, beside all."""
    if labels is None:
        raise SystemExit("literature needs --labels: file,label of Fischer et al.'s list")
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    stem_of = {Path(row["file"]).stem: int(row["label"]) for row in rows}
    listed = np.array([stem_of.get(path.stem, 0) for path in said.paths])
    groups = {"all": listed == listed, "in their test set": (listed == 1) | (listed == 2)}
    groups |= {"left out there": listed == -1, "on the list": listed != 0}
    for name in settings["canonicalizers"]:
        right = (said(name).argmax(axis=1) == 0).astype(float)
        for group, members in groups.items():
            if members.any():
                what = {"canonicalizer": name, "photos": group, "number": int(members.sum())}
                yield Number({**what, "quantity": "accuracy"}, right[members])


ITEMS: dict[str, Callable[[Said, dict[str, Any], Path | None], Iterator[Number]]] = {
    "traffic": traffic,
    "coverage": coverage,
    "literature": literature,
}

# The items that compare canonicalizers of their own, in the order in which these are trained.
TRAINED = ("expressivity", "training_photos", "alignment", "prior_strength")


def mean_interval(of_photos: np.ndarray, seeds: int) -> tuple[float, float]:
    """95 % interval of the mean, by resampling the photos; mean over the seeds."""
    counts = (draw_counts(len(of_photos), RESAMPLES, seed) for seed in range(seeds))
    ends = [interval(drawn @ of_photos / len(of_photos)) for drawn in counts]
    low, high = np.mean(ends, axis=0)
    return float(low), float(high)


def run(item: str, said: Said, labels: Path | None, out: Path) -> list[dict[str, Any]]:
    """The rows of an item, written as CSV."""
    settings = read_settings(item)
    rows = []
    for what, of_photos in ITEMS[item](said, settings, labels):
        low, high = mean_interval(of_photos, settings["seeds"])
        numbers = {"value": of_photos.mean(), "low": low, "high": high}
        rows.append({**what, **{name: f"{number:.4f}" for name, number in numbers.items()}})
    command = f"tools/study.py OUT --photos FOLDER --only {item}"
    commit = describe_environment()["git"]  # None outside of a clone
    with (out / f"{item}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "command", "commit"])
        writer.writeheader()
        writer.writerows({**row, "command": command, "commit": commit} for row in rows)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as markdown."""
    return "\n".join(markdown(list(rows[0]), [list(map(str, row.values())) for row in rows]))


def main() -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--only", nargs="+", choices=(*ITEMS, *TRAINED))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--masked", nargs=2, metavar=("IMAGES", "ANNOTATIONS"))
    parser.add_argument("--held-out")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.train:
        if options.data is None:
            parser.error("--train needs --data FOLDER, the photos to train on")
        items = options.only or TRAINED
        trainings = [one for item in items for one in list_trainings(item, options.quick)]
        photos = Photos(options.data, options.masked, options.held_out)
        place = {"jobs": options.jobs, "device": options.device}
        return int(train_all(trainings, photos, options.out, **place) > 0)
    if options.photos is None:
        parser.error("expected --photos FOLDER, the photos to measure on, or --train")
    options.only = options.only or ["traffic", "coverage"]
    try:
        paths = list_images(options.photos)
    except samrot.InputError as error:
        print(f"study: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    said = Said(options.out, paths[:QUICK] if options.quick else paths)
    parts = [
        "# When to canonicalize",
        f"{len(said.paths)} photos; 95 % intervals by resampling them. Made by `tools/study.py`; "
        "settings are in `configs/study`, numbers with command and commit in the CSV of each part.",
    ]
    for item in options.only:
        title = (ITEMS[item].__doc__ or "").rstrip(".\n")
        rows = run(item, said, options.labels, options.out)
        parts += [f"## {title}", read_settings(item)["learned"].strip(), table(rows)]
    write_text(options.out / "study.md", "\n\n".join(parts) + "\n")
    print("\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
