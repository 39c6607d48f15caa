"""The command line: settings in, exit code out; the work is done in the rooms below.

Exit codes: 0 done, 1 done but for some photos, 2 bad input (one line on stderr), 130 interrupted.
A command imports what it needs when it runs, so that ``samrot --help`` and ``samrot doctor`` answer
at once.
"""

from __future__ import annotations

import errno
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, get_loader, set_loader
from tqdm import tqdm
from yaml import YAMLError

from samrot.errors import InputError
from samrot.files import check_yaml
from samrot.runtime.processes import another_failed, is_first_to_fail

_YAML = "checked yaml"


@dataclass(frozen=True)
class Command:
    """One word of the command line.

    Args:
        meaning: line of ``samrot --help``.
        settings: ``module:dataclass`` of its options; None for a command without a config file.
        run: does the work with the filled settings, and prints what it made; an exit code, or
            None for 0.
        add_arguments: adds what is not an option of the settings, and names it.
    """

    meaning: str
    settings: str | None
    run: Callable[[Any], int | None]
    add_arguments: Callable[[ArgumentParser], set[str]] | None = None


def _evaluate(settings: Any) -> None:
    from samrot.evaluation.runner import evaluate
    from samrot.evaluation.table import summary_table

    print(summary_table(evaluate(settings)))
    print(f"results: {settings.out}")


def _train(settings: Any) -> None:
    from samrot.training.train import train

    print(f"canonicalizer: {train(settings)}")


def _diagnose(settings: Any) -> None:
    from samrot.commands.diagnose import diagnose
    from samrot.evaluation.pose_accuracy import report_table

    print(report_table(diagnose(settings)))
    print(f"report, reliability curve and the photos it gets most wrong: {settings.out}")


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
    from samrot.commands.segment import segment

    num_objects, failed = segment(settings)
    print(f"{num_objects} objects; masks and overlays: {settings.out}")
    for path, reason in failed.items():
        _say(f"failed: {path}: {reason}")
    return 1 if failed else 0


def _export(settings: Any) -> None:
    from samrot.commands.export import export

    for network in export(settings)["networks"].values():
        print(f"{network['file']}: differs from torch by {network['difference']:.1e} at most")
    print(f"ONNX files, and export.json with their inputs and outputs: {settings.out}")


def _rotate_coco(arguments: Any) -> None:
    from samrot.commands.rotate_coco import rotate_coco

    rotate_coco(arguments.src, arguments.dst, arguments.angles, arguments.annotations)
    print(f"turned datasets: {arguments.dst}")


def _doctor(arguments: Any) -> None:
    from samrot.commands.doctor import report

    print(report())


def _add_segment_arguments(parser: ArgumentParser) -> set[str]:
    parser.add_argument("images", nargs="+", help="files, folders and patterns")
    for name, kind, meaning in (
        ("box", float, "x0 y0 x1 y1 of each object, pixels of the photo as it is displayed"),
        ("point", float, "x y of each click on one more object"),
        ("label", int, "of each click: 1 in the object (all, if left out), 0 outside"),
    ):
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=[], help=meaning)
    return {"images", "box", "point", "label"}


def _add_rotate_arguments(parser: ArgumentParser) -> set[str]:
    from samrot.geometry.groups import C4, D4

    parser.add_argument("src", help="folder of a COCO dataset: photos, and a .json below it")
    parser.add_argument("dst", help="folder to make; it gets one folder per angle")
    parser.add_argument(
        "--angles", nargs="+", choices=D4.names, default=list(C4.names),
        help="counter-clockwise, degrees; with an m before, mirrored left-right first",
    )  # fmt: skip
    parser.add_argument("--annotations", help="COCO JSON, if it is not below src")
    return {"src", "dst", "angles", "annotations"}


COMMANDS = {
    "evaluate": Command(
        "score a segmenter on rotated COCO, with and without canonicalization",
        "samrot.evaluation.settings:EvaluateSettings",
        _evaluate,
    ),
    "train": Command(
        "train a canonicalizer on upright photos", "samrot.training.train:TrainSettings", _train
    ),
    "finetune": Command(
        "fine-tune a SAM on COCO masks", "samrot.training.finetune:FinetuneSettings", _finetune
    ),
    "diagnose": Command(
        "does the canonicalizer agree with the orientations of one's photos",
        "samrot.commands.diagnose:DiagnoseSettings",
        _diagnose,
    ),
    "segment": Command(
        "masks for photos in files and folders, however they are turned",
        "samrot.commands.segment:SegmentSettings",
        _segment,
        _add_segment_arguments,
    ),
    "export": Command(
        "canonicalizer, image encoder and mask decoder as ONNX files",
        "samrot.commands.export:ExportSettings",
        _export,
    ),
    "rotate-coco": Command(
        "write a dataset turned and mirrored", None, _rotate_coco, _add_rotate_arguments
    ),
    "demo": Command(
        "the whole job, offline, in a few minutes", "samrot.commands.demo:DemoSettings", _demo
    ),
    "doctor": Command("what is installed, what works, what is missing", None, _doctor),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"samrot {importlib.import_module('samrot').__version__}")
        return 0
    name, options = arguments[0], arguments[1:]
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}; expected one of: {', '.join(COMMANDS)}")
    warnings.showwarning = _show_warning
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _fail(f"{error.strerror or error}{place}{remedy if full else ''}")
    except KeyboardInterrupt:
        if is_first_to_fail():
            _say("interrupted; run the same command again")
        return 130


def _parse(name: str, options: list[str]) -> Any:
    command = COMMANDS[name]
    parser = ArgumentParser(
        prog=f"samrot {name}", description=command.meaning, exit_on_error=False, parser_mode=_YAML
    )
    added = command.add_arguments(parser) if command.add_arguments else set()
    if command.settings is None:
        return parser.parse_args(options)
    module_name, _, class_name = command.settings.partition(":")
    settings_class = getattr(importlib.import_module(module_name), class_name)
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    parser.add_class_arguments(settings_class, skip=added)
    values = vars(parser.instantiate(parser.parse_args(options)))
    values.pop("config")
    return settings_class(**values)


def _overview() -> str:
    lines = ["usage: samrot COMMAND [options]   (samrot COMMAND --help lists them)", ""]
    lines += [f"  {name:<12} {command.meaning}" for name, command in COMMANDS.items()]
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
