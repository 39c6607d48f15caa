r"""The paper's open questions, answered with numbers that have intervals.

python tools/study.py OUT --train --data FOLDER --masked IMAGES ANNOTATIONS [--held-out FILE] \
    [--jobs N] [--device auto] [--only ITEM ...] [--quick]
python tools/study.py OUT --photos FOLDER --coco IMAGES ANNOTATIONS [--detections FILE FILE FILE \
    FILE] [--labels FILE.csv] [--device cpu] [--only ITEM ...] [--quick]

Each item is a file in configs/study, and becomes OUT/study/ITEM.csv: one number a row, its 95 %
interval (bootstrap over photos and seeds), the command and the commit; OUT/study.md shows all that
are there. What is done is kept in OUT, so that the same command goes on.

With --train, the canonicalizers that items compare are trained first, into OUT/trained; --data are
upright photos, --masked photos with masks, of which those that --held-out lists are left out.

Photos to measure on are taken to be upright as they are displayed; what is said of their turns
follows from the law. Average precision needs --coco, photos with masks; --detections are files in
the format of COCO results, of a detector on those photos turned by 0, 90, 180 and 270 degrees,
without which prompts are the boxes of the ground truth. --labels is for the item literature.

--quick is a smoke test: the first and the last training of each item, some steps, some photos.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from studies.context import Context
from studies.evidence import Said
from studies.items import ITEMS, TITLES, TRAINED
from studies.numbers import write_rows
from studies.page import FOLDER, PAGE, draw_plot, write_page
from studies.precision import PlainRun, plain_settings
from studies.settings import read_settings
from studies.trainings import Photos, list_trainings, train_all

from samrot.data.images import list_images
from samrot.errors import InputError
from samrot.evaluation.runner import evaluate
from samrot.runtime.devices import find_device

RESAMPLES, QUICK_RESAMPLES = 1000, 50
QUICK_PHOTOS, QUICK_MASKED = 24, 6


def main() -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=ITEMS)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--quick", action="store_true")
    training = parser.add_argument_group("training")
    training.add_argument("--train", action="store_true")
    training.add_argument("--data")
    training.add_argument("--masked", nargs=2, metavar=("IMAGES", "ANNOTATIONS"))
    training.add_argument("--held-out")
    training.add_argument("--jobs", type=int, default=1)
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument("--photos")
    measuring.add_argument("--coco", nargs=2, metavar=("IMAGES", "ANNOTATIONS"))
    measuring.add_argument("--detections", nargs=4)
    measuring.add_argument("--labels", type=Path)
    options = parser.parse_args()
    if (options.data if options.train else options.photos) is None:
        parser.error("expected --photos FOLDER to measure on, or --train --data FOLDER")
    try:
        return train(options) if options.train else measure(options)
    except InputError as error:
        print(f"study: {error}", file=sys.stderr)
        return 2


def train(options: argparse.Namespace) -> int:
    """Train what is not trained yet; the exit code."""
    items = [item for item in TRAINED if item in (options.only or TRAINED)]
    trainings = [one for item in items for one in list_trainings(item, options.quick)]
    photos = Photos(options.data, options.masked, options.held_out)
    place = {"jobs": options.jobs, "device": options.device}
    return int(train_all(trainings, photos, options.out, **place) > 0)


def measure(options: argparse.Namespace) -> int:
    """Measure, and write files and page; the exit code."""
    out: Path = options.out
    photos = list_images(options.photos)[: QUICK_PHOTOS if options.quick else None]
    resamples = QUICK_RESAMPLES if options.quick else RESAMPLES
    device, plain = find_device(options.device), None
    if options.coco is not None:
        limit = QUICK_MASKED if options.quick else None
        settings = plain_settings(
            out / "plain", options.coco, options.detections, limit=limit, device=device
        )
        evaluate(settings)  # or continue, or read, what was evaluated
        plain = PlainRun(Path(settings.out), settings.data.load(), resamples)
    context = Context(
        out=out, said=Said(out / "said", photos), resamples=resamples, plain=plain,
        labels=options.labels, device=device, quick=options.quick,
    )  # fmt: skip
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for item in options.only or ITEMS:
        try:
            numbers = list(ITEMS[item](context, read_settings(item)))
        except InputError as error:
            if options.only:
                raise
            print(f"study: left out: {error}", file=sys.stderr)
            continue
        given = {
            "--coco IMAGES ANNOTATIONS": options.coco, "--detections FILE FILE FILE FILE":
            options.detections, "--labels FILE.csv": options.labels,
        }  # fmt: skip
        named = [name for name, value in given.items() if value is not None]
        command = " ".join(["tools/study.py OUT --photos FOLDER", *named, f"--only {item}"])
        write_rows(out / FOLDER / f"{item}.csv", numbers, command)
        draw_plot(out, item)
        write_page(out, TITLES)
    print((out / PAGE).read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
