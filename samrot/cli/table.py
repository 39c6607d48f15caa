"""The commands: name -> what it takes, and what it runs.

A command imports what it needs when it runs, so that ``samrot --help`` and ``samrot doctor`` answer
at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from samrot.cli.console import say
from samrot.cli.parsing import Command, build_parser, settings_class_of
from samrot.errors import InputError
from samrot.runtime.processes import is_first_process
from samrot.wording import counted

_IMAGES = (
    "photos: files, folders and patterns, here or as URIs; tar files; .txt files that list them"
)
SHELLS = ("bash", "zsh", "tcsh")


def _evaluate(settings: Any) -> None:
    from samrot.evaluation.runner import evaluate
    from samrot.evaluation.tasks import TASKS

    print(TASKS[settings.task].table(evaluate(settings)))
    print(f"results: {settings.out}")


def _train(settings: Any) -> None:
    from samrot.training.train import train

    print(f"canonicalizer: {train(settings)}")


def _train_points(settings: Any) -> None:
    from samrot.training.points import train_points

    print(f"checkpoints: {train_points(settings)}")


def _train_classifier(settings: Any) -> None:
    from samrot.training.classification import train_classifier

    print(f"checkpoints: {train_classifier(settings)}")


def _diagnose(settings: Any) -> None:
    from samrot.commands.diagnose import diagnose
    from samrot.evaluation.pose_accuracy import report_table

    print(report_table(diagnose(settings)))
    print(f"report, reliability curve and the mistakes, if any: {settings.out}")


def _finetune(settings: Any) -> None:
    from samrot.training.finetune import finetune

    print(f"segmenter: {finetune(settings)}")


def _demo(settings: Any) -> None:
    from samrot.commands.demo import demo
    from samrot.evaluation.table import summary_table

    summary, overlays = demo(settings)
    print(summary_table(summary))
    print(f"overlays to look at: {overlays}")


def _segment(settings: Any) -> int:
    from samrot.commands.segment import remarks, segment

    report = segment(settings)
    made = counted(report.num_objects, "object")
    print(f"{made}; masks and overlays: {settings.results or settings.out}")
    return _passed_over(remarks(report, settings), report.failed)


def _upright(settings: Any) -> int:
    from samrot.commands.upright import upright, upright_table
    from samrot.commands.upright_undo import undo

    if settings.undo is not None:
        restored, failed = undo(settings.undo)
        print(f"{counted(restored, 'photo')} as before")
    else:
        report = upright(settings)
        failed = report.failed
        print(upright_table(report, settings))
        print(f"table: {settings.out}")
    return _passed_over([f"failed: {path}: {reason}" for path, reason in failed.items()], failed)


def _passed_over(remarks: Sequence[str], failed: Collection[str]) -> int:
    """Say what a person should know, once; the exit code."""
    if not is_first_process():
        return 0  # an exit code of another process would end the run
    for remark in remarks:
        say(remark)
    return 1 if failed else 0


def _web(settings: Any) -> None:
    from samrot.commands.web import serve

    serve(settings)


def _export(settings: Any) -> None:
    from samrot.commands.export import export

    for network in export(settings)["networks"].values():
        print(f"{network['file']}: differs from torch by {network['difference']:.1e} at most")
    print(f"ONNX files, and export.json with their inputs and outputs: {settings.out}")


def _rotate_coco(arguments: Any) -> None:
    from samrot.commands.rotate_coco import rotate_coco
    from samrot.geometry.groups import C4

    angles = arguments.angles or C4.names
    rotate_coco(arguments.src, arguments.dst, angles, arguments.annotations)
    print(f"turned datasets: {arguments.dst}")


def _doctor(arguments: Any) -> None:
    from samrot.commands.doctor import report

    print(report())


def _models(arguments: Any) -> None:
    from samrot.commands.models import report

    print(report())


def _completion(arguments: Any) -> None:
    whole = ArgumentParser(prog="samrot", description=overview())
    subcommands = whole.add_subcommands()
    for name, command in COMMANDS.items():
        parser = build_parser(name, command, settings_class_of(command))
        subcommands.add_subcommand(name, parser)
    try:
        print(whole.get_completion_script(f"shtab-{arguments.shell}"))
    except ValueError as error:
        raise InputError("shtab is not installed; pip install 'samrot[completion]'") from error


def _add_completion_arguments(parser: ArgumentParser) -> set[str]:
    parser.add_argument("shell", choices=SHELLS, help="shell that is to complete")
    return {"shell"}


def _add_segment_arguments(parser: ArgumentParser) -> set[str]:
    parser.add_argument("images", nargs="+", help=_IMAGES)
    return {"images"}


def _add_upright_arguments(parser: ArgumentParser) -> set[str]:
    parser.add_argument("images", nargs="*", help=_IMAGES)
    return {"images"}


def _add_rotate_arguments(parser: ArgumentParser) -> set[str]:
    from samrot.geometry.groups import D4

    parser.add_argument("src", help="folder of a COCO dataset: photos, and a .json below it")
    parser.add_argument("dst", help="folder to make; it gets one folder per angle")
    parser.add_argument(
        "--angles", nargs="+", action="extend", choices=D4.names,
        help="counter-clockwise, degrees, by default those of C4; with an m before, mirrored "
        "left-right first",
    )  # fmt: skip
    parser.add_argument("--annotations", help="COCO JSON, if it is not below src")
    return {"src", "dst", "angles", "annotations"}


COMMANDS = {
    "evaluate": Command(
        "score a model on turned data, with and without canonicalization",
        "--data.images DIR --data.annotations FILE --out DIR",
        "--data.images coco/val2017 --data.annotations coco/annotations/instances_val2017.json "
        "--methods none,canonical --out runs/mini",
        "samrot.evaluation.tasks:TASKS",
        _evaluate,
    ),
    "train": Command(
        "train a canonicalizer on upright photos",
        "--data.images DIR --out DIR",
        "--config custom --data.images photos --out runs/mine",
        "samrot.training.train_settings:TrainSettings",
        _train,
    ),
    "train-points": Command(
        "train a network for point clouds, plain or behind a canonicalizer",
        "--data.clouds FILE|DIR --out DIR",
        "--config points_prior_up --data.clouds clouds.npz --out runs/clouds",
        "samrot.training.points:TrainPointsSettings",
        _train_points,
    ),
    "train-classifier": Command(
        "train a classifier of photos, plain or behind a canonicalizer",
        "--data.images DIR|ZIP --out DIR",
        "--config classification_prior --data.images photos.zip "
        "--network.checkpoint resnet20.th --out runs/classifier",
        "samrot.training.classification:TrainClassifierSettings",
        _train_classifier,
    ),
    "finetune": Command(
        "fine-tune a SAM on COCO masks",
        "--out DIR",
        "--config finetune --data.images photos --data.annotations masks.json --out runs/sam",
        "samrot.training.finetune:FinetuneSettings",
        _finetune,
    ),
    "diagnose": Command(
        "measure whether the canonicalizer agrees with the orientations of your photos",
        "--data.images DIR --out DIR",
        "--data.images photos --out runs/diagnosis",
        "samrot.commands.diagnose:DiagnoseSettings",
        _diagnose,
    ),
    "segment": Command(
        "write masks for photos in files and folders, however they are turned",
        "IMAGES [IMAGES ...] --out DIR",
        "photos --box 100 80 420 360 --out masks",
        "samrot.commands.segment:SegmentSettings",
        _segment,
        _add_segment_arguments,
    ),
    "upright": Command(
        "put photos upright, by their orientation tag or their pixels",
        "IMAGES [IMAGES ...] --out DIR",
        "photos --write exif --out runs/upright",
        "samrot.commands.upright:UprightSettings",
        _upright,
        _add_upright_arguments,
    ),
    "web": Command(
        "show a page to try it on: turn a photo, click, compare plain and robust",
        "",
        "--port 7860",
        "samrot.commands.web:WebSettings",
        _web,
    ),
    "export": Command(
        "write canonicalizer, image encoder and mask decoder as ONNX files",
        "--out DIR",
        "--segmenter.name sam_mini --out onnx",
        "samrot.commands.export:ExportSettings",
        _export,
    ),
    "rotate-coco": Command(
        "write a dataset turned and mirrored",
        "SRC DST",
        "coco/val2017 coco/turned --angles 90 m0",
        None,
        _rotate_coco,
        _add_rotate_arguments,
    ),
    "demo": Command(
        "do the whole job, offline, in a few minutes",
        "",
        "--images 10 --out runs/demo",
        "samrot.commands.demo:DemoSettings",
        _demo,
    ),
    "models": Command(
        "list models: bundled, installed by plug-ins, or known and absent", "", "", None, _models
    ),
    "doctor": Command("say what is installed, what works, what is missing", "", "", None, _doctor),
    "completion": Command(
        "print a script that completes commands and options in a shell",
        "SHELL",
        "bash > ~/.local/share/bash-completion/completions/samrot",
        None,
        _completion,
        _add_completion_arguments,
    ),
}


def overview() -> str:
    """The text of ``samrot --help``."""
    lines = ["usage: samrot COMMAND [options]   (samrot help COMMAND lists them)", ""]
    lines += [f"  {name:<16} {command.meaning}" for name, command in COMMANDS.items()]
    return "\n".join(lines)
