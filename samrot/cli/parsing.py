"""A command of the command line: what it takes, and its arguments made settings."""

from __future__ import annotations

import argparse
import importlib
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
from yaml import YAMLError

from samrot.cli.arguments import as_parsed, find_config, option_types
from samrot.errors import InputError, check_choice
from samrot.files import check_yaml, load_yaml
from samrot.wording import did_you_mean

_YAML = "checked yaml"


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


def parse(name: str, command: Command, arguments: Sequence[str]) -> Any:
    """The settings that arguments give; of a command without settings, the arguments by name.

    Raises:
        InputError: if an option is unknown, or a value is not what it takes.
        ArgumentError: if no value follows ``--task`` or ``--config``.
    """
    settings_class = settings_class_of(command, arguments)
    options = {} if settings_class is None else option_types(settings_class)
    parser = build_parser(name, command, settings_class)
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


def settings_class_of(command: Command, arguments: Sequence[str] = ()) -> Any:
    """The dataclass of a command's options, imported; None where there is none."""
    if command.settings is None:
        return None
    module_name, _, class_name = command.settings.partition(":")
    found = getattr(importlib.import_module(module_name), class_name)
    return found[_task(arguments, found)].settings_class if isinstance(found, dict) else found


def _task(arguments: Sequence[str], tasks: Collection[str]) -> str:
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


def build_parser(name: str, command: Command, settings_class: Any) -> ArgumentParser:
    """The parser of a command, with the options of its settings and its own."""
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


def _load_yaml(text: str) -> Any:
    check_yaml(text)
    return get_loader("yaml")(text)


set_loader(_YAML, _load_yaml, (YAMLError,))
