"""Train a canonicalizer with several weights of the prior loss, and compare what comes of them.

python tools/beta_sweep.py CONFIG OUT --betas 0.01 0.1 1 10 100 --images FOLDER --annotations JSON \
    --val-images FOLDER --val-annotations JSON

CONFIG is one of ``samrot train`` with a task loss (configs/task_prior.yaml): without another loss
beside it, the weight of the prior loss means nothing. OUT gets a training run and a diagnosis for
each beta, beta.md and beta.png. An interrupted sweep continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jsonargparse import ArgumentParser
from matplotlib.figure import Figure

from samrot.engines.diagnose import DiagnoseSettings, diagnose
from samrot.engines.evaluate import CanonicalizerChoice
from samrot.engines.train import PhotoSettings, TrainSettings, train

COLUMNS = {
    "pose_accuracy": "pose accuracy",
    "kl_prior_to_canonicalised": "KL(prior, canonicalised)",
    "circular_wasserstein": "circular Wasserstein",
}


def train_settings(arguments: argparse.Namespace, beta: float, out: Path) -> TrainSettings:
    """The config, with one beta and the user's data."""
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(TrainSettings)
    options = ["--config", str(arguments.config), "--out", str(out), "--beta", str(beta)]
    options += ["--data.images", f"[{arguments.images}]"]
    options += ["--data.annotations", str(arguments.annotations), *arguments.extra]
    values = vars(parser.instantiate(parser.parse_args(options)))
    values.pop("config")
    return TrainSettings(**values)


def main() -> None:
    """Sweep, then write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--betas", type=float, nargs="+", default=[0.01, 0.1, 1.0, 10.0, 100.0])
    for name in ("images", "annotations", "val-images", "val-annotations"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments, arguments.extra = parser.parse_known_args()
    rows = []
    for beta in arguments.betas:
        folder = arguments.out / f"beta_{beta:g}"
        checkpoint = train(train_settings(arguments, beta, folder / "train"))
        report = diagnose(
            DiagnoseSettings(
                out=str(folder / "diagnosis"),
                data=PhotoSettings(
                    images=[str(arguments.val_images)], annotations=str(arguments.val_annotations)
                ),
                canonicalizer=CanonicalizerChoice(name=str(checkpoint)),
            )
        )
        rows.append((beta, report))
    lines = ["| beta | " + " | ".join(COLUMNS.values()) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for beta, report in rows:
        cells = ["infinite" if report[k] is None else f"{report[k]:.4f}" for k in COLUMNS]
        lines.append(f"| {beta:g} | " + " | ".join(cells) + " |")
    table = "\n".join(lines) + "\n"
    (arguments.out / "beta.md").write_text(table)
    figure = Figure()
    axes = figure.add_subplot(xscale="log", xlabel="beta")
    for key, name in COLUMNS.items():
        values = [float("nan") if r[key] is None else r[key] for _, r in rows]
        axes.plot([beta for beta, _ in rows], values, marker="o", label=name)
    axes.legend()
    figure.savefig(arguments.out / "beta.png")
    print(table)


if __name__ == "__main__":
    main()
