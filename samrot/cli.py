"""The command line: settings in, exit code out; the work is done in the rooms below.

Exit codes: 0 done, 1 done but for some photos, 2 bad input (one line on stderr), 130 interrupted.
A command imports what it needs when it runs, so that ``samrot --help`` and ``samrot doctor`` answer
at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import warnings
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    get_loader,
    set_loader,
)
from tqdm import tqdm
from yaml import YAMLError

from samrot.arguments import as_parsed, find_config, option_types
from samrot.errors import InputError, check_choice
from samrot.files import check_yaml, is_disk_full, load_yaml
from samrot.runtime.processes import another_failed, is_first_process, is_first_to_fail
from samrot.wording import counted, did_you_mean

_YAML = "checked yaml"

_IMAGES = (
    "photos: files, folders and patterns, here or as URIs; tar files; .txt files that list them"
)
SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True)
class Command:
    """One word of the command line.

    Args:
        meaning: line of ``samrot --help``.
        needs: what must be given, as of the usage line.
        example: options of an example.
        settings: ``module:dataclass`` of its options, or ``module:TASKS``, a table of tasks with
            their dataclasses, the first for no ``--task``; None for a command without a config
            file.
        run: does the work with the filled settings, and prints what it made; an exit code, or
            None for 0.
        add_arguments: adds what is not an option of the settings, and names it.
    """

    meaning: str
    needs: str
    example: str
    settings: str | None
    run: Callable[[Any], int | None]
    add_arguments: Callable[[ArgumentParser], set[str]] | None = None


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
        _say(remark)
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
    whole = ArgumentParser(prog="samrot", description=_overview())
    subcommands = whole.add_subcommands()
    for name in COMMANDS:
        subcommands.add_subcommand(name, _parser(name, _settings_class(name, [])))
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"samrot {importlib.import_module('samrot').__version__}")
        return 0
    name, options = arguments[0], arguments[1:]
    if name not in COMMANDS:
        return _fail(
            f"unknown command {name!r}; expected one of: {', '.join(COMMANDS)}"
            + did_you_mean(name, COMMANDS)
        )
    warnings.showwarning = _show_warning
    talk = logging.StreamHandler()
    talk.setFormatter(logging.Formatter("samrot: %(message)s"))
    logger = logging.getLogger("samrot")
    logger.addHandler(talk)
    logger.setLevel(logging.INFO)
    try:
        return COMMANDS[name].run(_parse(name, options)) or 0
    except (InputError, ArgumentError) as error:
        return _fail(str(error))
    except RuntimeError:
        if another_failed():  # and took this process out of what they did together
            return 2
        raise
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        remedy = "; free some space and run the same command again"
        return _fail(f"{error.strerror or error}{place}{remedy if is_disk_full(error) else ''}")
    except KeyboardInterrupt:
        if is_first_to_fail():
            _say("interrupted; run the same command again")
        return 130
    finally:
        logger.removeHandler(talk)


def _parse(name: str, arguments: list[str]) -> Any:
    settings_class = _settings_class(name, arguments)
    options = {} if settings_class is None else option_types(settings_class)
    parser = _parser(name, settings_class)
    try:
        parsed = parser.parse_args(as_parsed(arguments, options))
        if settings_class is None:
            return parsed
        values = vars(parser.instantiate(parsed))
        values.pop("config")
        if values.get("out") == "":  # which would be the current folder
            raise InputError("out is ''; expected a folder")
        return settings_class(**values)
    except InputError:
        raise
    except ArgumentError as error:
        unknown = str(error).partition("unrecognized arguments: ")[2].split()
        hint = did_you_mean(unknown[0].partition("=")[0], options) if unknown else ""
        raise InputError(f"{error}{hint}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # jsonargparse's own
        raise InputError(
            f"the settings are not of the shape expected ({error}); samrot help {name} lists them"
        ) from error


def _settings_class(name: str, arguments: list[str]) -> Any:
    """The dataclass of a command's options, imported; None where there is none."""
    settings = COMMANDS[name].settings
    if settings is None:
        return None
    module_name, _, class_name = settings.partition(":")
    found = getattr(importlib.import_module(module_name), class_name)
    return found[_task(arguments, found)].settings_class if isinstance(found, dict) else found


def _task(arguments: list[str], tasks: Collection[str]) -> str:
    """The task that the options name, or the config that they name; by default the first."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--task")
    parser.add_argument("--config", action="append", default=[])
    given, _ = parser.parse_known_args(arguments)
    named = [next(iter(tasks))]
    for config in given.config:
        with suppress(YAMLError, UnicodeDecodeError):  # which are reported where it is parsed
            content = load_yaml(find_config(config).read_text())
            named += [content["task"]] if isinstance(content, dict) and "task" in content else []
    task = named[-1] if given.task is None else given.task
    check_choice("task", task, tasks)
    return task


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Examples stay on one line, to be copied."""


def _parser(name: str, settings_class: Any) -> ArgumentParser:
    command = COMMANDS[name]
    parser = ArgumentParser(
        prog=f"samrot {name}",
        usage=f"samrot {name} {command.needs + ' ' if command.needs else ''}[options]",
        description=command.meaning,
        epilog=f"example:\n  samrot {name} {command.example}",
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode=_YAML,
    )
    added = command.add_arguments(parser) if command.add_arguments else set()
    if settings_class is not None:
        parser.add_argument(
            "--config",
            action="config",
            help="YAML file with any of the settings, or the name of one that comes with samrot",
        )
        parser.add_class_arguments(settings_class, skip=added)
        for group in parser._action_groups:
            for action in group._group_actions:
                if action.help == "Path to a configuration file.":  # of a group of options alone
                    action.help = SUPPRESS
    return parser


def _overview() -> str:
    lines = ["usage: samrot COMMAND [options]   (samrot help COMMAND lists them)", ""]
    lines += [f"  {name:<16} {command.meaning}" for name, command in COMMANDS.items()]
    return "\n".join(lines)


def _fail(message: str) -> int:
    if is_first_to_fail():
        _say(f"error: {message}")
    return 2


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {message}")


def _say(message: str) -> None:
    """Write one line for a person, beside the progress bars and whatever is in names of files."""
    tqdm.write("samrot: " + " ".join(message.split()), file=sys.stderr)


def _load_yaml(text: str) -> Any:
    check_yaml(text)
    return get_loader("yaml")(text)


set_loader(_YAML, _load_yaml, (YAMLError,))
