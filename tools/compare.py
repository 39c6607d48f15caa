"""Train canonicalizers with several values of a setting and several seeds, and compare them.

python tools/compare.py OUT --vary beta 0.01 0.1 1 10 --seeds 0 1 2 --val-images FOLDER \
    --val-annotations JSON [--plain RUN] -- --config task_prior \
    --data.images '[FOLDER]' --data.annotations JSON

What follows ``--`` goes to ``samrot train``, and so do the varied setting (any of its options,
config included) and the seed. OUT gets a training run and a diagnosis for each value and seed,
compare.md, report.html, and compare.png where the values are numbers. An interrupted comparison
continues.

RUN is a finished ``samrot evaluate`` with the method none at all four angles. A photo whose pose is
mistaken by k turns gets the masks that the plain segmenter gave it at k turns, at every angle, so
the AP under a canonicalizer is known from those masks and its poses without another run (but for
coordinates rounded to 1/64 px).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from studies.precision import PlainRun, once

from samrot import cli
from samrot.data.coco import CocoDataset
from samrot.data.images import read_image
from samrot.errors import InputError
from samrot.evaluation.report.page import REPORT_FILE, PageTable, Picture, Section, render_page
from samrot.evaluation.report.provenance import how_to_cite
from samrot.evaluation.table import markdown
from samrot.files import write_text
from samrot.geometry.groups import C4

COLUMNS = {
    "pose_accuracy": "pose accuracy",
    "pose_accuracy_aspect_hidden": "the same, centred square",
    "kl_prior_to_canonicalised": "KL(prior, canonicalised)",
    "circular_wasserstein": "circular Wasserstein",
    "AP": "segm AP, upright and C4 average",
    "retention": "retention",
    "parameters": "parameters",
    "milliseconds": "milliseconds",
}


def read_plain(run: Path, dataset: CocoDataset) -> PlainRun:
    """What the plain segmenter found at each turn, from which any canonicalizer's AP follows."""
    try:
        plain = PlainRun(run, dataset, resamples=0)
    except InputError as error:
        raise SystemExit(str(error)) from error
    prompted = {dataset.image_path(i) for i in dataset.image_ids if dataset.instances(i)}
    if not prompted.issubset(plain.paths):
        raise SystemExit(
            f"{run} has results for {len(plain.paths)} photos, but {len(prompted)} have instances; "
            "expected an evaluation of the same photos, without limit"
        )
    if not np.isfinite(plain.at_turns[0, 0]):
        raise SystemExit("the annotations hold nothing to score; compare without --plain")
    return plain


def samrot(*arguments: str) -> None:
    """Run a command of samrot; what it refuses ends the comparison."""
    if code := cli.main(arguments):
        raise SystemExit(code)


def label(value: str) -> str:
    """A value as it is shown and as a folder is named: of a path, the file's name."""
    return Path(value).name.removesuffix(".yaml")


def mean_and_spread(values: Sequence[Any]) -> str:
    """Mean and standard deviation over the seeds."""
    if any(value is None for value in values):
        return "infinite"
    if all(isinstance(value, int) for value in values):
        return f"{values[0]:,}"
    spread = f" +- {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def plot(setting: str, reports: Mapping[float, list[dict[str, Any]]], path: Path) -> None:
    """Pose accuracy and distances over the varied number, a point per seed."""
    figure = Figure()
    axes = figure.add_subplot(xlabel=setting)
    positive = [value for value in reports if value > 0]
    axes.set_xscale("symlog", linthresh=min(positive, default=1.0))
    for key in list(COLUMNS)[:4]:
        points = [(x, r[key]) for x, seeds in reports.items() for r in seeds if r[key] is not None]
        line = axes.plot(*zip(*points, strict=True), "o", alpha=0.4)[0]
        means = {x: np.mean([y for at, y in points if at == x]) for x, _ in points}
        axes.plot(list(means), list(means.values()), color=line.get_color(), label=COLUMNS[key])
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Train, diagnose, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--vary", required=True, nargs="+", help="SETTING VALUE [VALUE ...]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--val-images", type=Path, required=True)
    parser.add_argument("--val-annotations", type=Path, required=True)
    parser.add_argument("--plain", type=Path)
    parser.add_argument("options", nargs="+", help="of samrot train, after --")
    arguments = parser.parse_args()
    setting, *values = arguments.vary
    plain = arguments.plain and read_plain(
        arguments.plain, CocoDataset.load(arguments.val_images, arguments.val_annotations)
    )
    reports: dict[str, list[dict[str, Any]]] = {}
    for value in values:
        reports[value] = []
        for seed in arguments.seeds:
            folder = arguments.out / f"{setting}_{label(value)}" / f"seed_{seed}"
            run = str(folder / "train")
            samrot(
                "train",
                *arguments.options,
                f"--{setting}",
                value,
                "--seed",
                str(seed),
                "--out",
                run,
            )
            samrot(
                "diagnose", "--data.images", f"[{arguments.val_images}]",
                "--data.annotations", str(arguments.val_annotations),
                "--canonicalizer.name", f"{run}/canonicalizer.safetensors",
                "--out", str(folder / "diagnosis"),
            )  # fmt: skip
            report = json.loads((folder / "diagnosis" / "report.json").read_text())
            if plain:
                errors = [-report["predicted"][str(path)] % C4.order for path in plain.paths]
                report["AP"] = float(plain.precision(once(np.array(errors)))[0])
                report["retention"] = report["AP"] / float(plain.at_turns[0, 0])
            reports[value].append(report)
    columns = [key for key in COLUMNS if key in report]
    header = [setting, *(COLUMNS[key] for key in columns)]
    rows = [
        [label(value), *(mean_and_spread([report[key] for report in seeds]) for key in columns)]
        for value, seeds in reports.items()
    ]
    table = "\n".join(markdown(header, rows)) + "\n"
    (arguments.out / "compare.md").write_text(table)
    try:
        numbers = {float(value): seeds for value, seeds in reports.items()}
    except ValueError:
        numbers = {}
    pictures = []
    if numbers:
        plot(setting, numbers, arguments.out / "compare.png")
        caption = f"over {setting}, a point for each seed, and their means"
        pictures.append(Picture.of_image(read_image(arguments.out / "compare.png"), caption))
    page = render_page(
        f"{setting} compared",
        f"{len(values)} values, {len(arguments.seeds)} seeds; mean and spread over the seeds",
        [
            Section("Comparison", (), pictures, [PageTable(header, rows)]),
            Section("Settings", verbatim="samrot train " + " ".join(arguments.options)),
            how_to_cite(),
        ],
    )
    write_text(arguments.out / REPORT_FILE, page)
    print(table)


if __name__ == "__main__":
    main()
