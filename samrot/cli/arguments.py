"""What a person types, in the form that the parser reads; what a mistyped word may have meant."""

from __future__ import annotations

import json
import types
from collections import deque
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from samrot.errors import InputError, MissingFileError
from samrot.files import load_yaml
from samrot.wording import did_you_mean

_HOLD_NOTHING = (bool, float, int, str)  # no settings of their own
_SWITCH_VALUES = ("true", "false")


def option_types(settings_class: Any, prefix: str = "--") -> dict[str, Any]:
    """The options of a settings dataclass and of those within it: ``--name.of.field`` -> type."""
    found: dict[str, Any] = {}
    hints = get_type_hints(settings_class)
    for field in fields(settings_class):
        name, hint = prefix + field.name, hints[field.name]
        found[name] = hint
        if is_dataclass(hint):
            found |= option_types(hint, f"{name}.")
    return found


def as_parsed(arguments: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Arguments with each list as one, and each switch with a value.

    Lists may be given as ``--methods none canonical``, ``--methods none,canonical``, ``--methods
    '[none, canonical]'``, and more than once, which adds up; a list of numbers ends at what is no
    number. Of other options the last counts. A switch without a value is true. The words of a name
    may be joined by - too. A config may be one that comes with samrot, by name; of several the
    later goes first.

    Args:
        arguments: arguments of the command line.
        options: ``option_types`` of the settings.

    Raises:
        InputError: if there is no such config, or an option is asked for one of its own where it
            has none.
    """
    parsed: list[str] = []
    lists: dict[str, list[str]] = {}
    remaining = deque(arguments)
    while remaining:
        argument = remaining.popleft()
        name, equals, value = argument.partition("=")
        spelled = "--" + name[2:].replace("-", "_")
        if name.startswith("--") and spelled in options:
            name, argument = spelled, spelled + equals + value
        elif options.get(spelled.rpartition(".")[0]) in _HOLD_NOTHING:
            raise InputError(f"unrecognized arguments: {name}{did_you_mean(spelled, options)}")
        if name == "--config" and (equals or remaining):
            parsed.append(f"{name}={find_config(value if equals else remaining.popleft())}")
            continue
        element = _element(options.get(name))
        elements: list[str] = []
        if element is not None and equals:
            elements = _split(value, element)
        elif element is not None:
            while remaining and (more := _split(remaining[0], element)):
                elements += more
                remaining.popleft()
        if elements and name in lists:
            lists[name] += elements
        elif elements:
            lists[name] = elements
            parsed.append(name)
        elif options.get(name) is bool and not equals:
            has_value = bool(remaining) and remaining[0].lower() in _SWITCH_VALUES
            parsed.append(f"{name}={remaining.popleft() if has_value else 'true'}")
        else:
            parsed.append(argument)
    return [_joined(name, lists[name], options[name]) if name in lists else name for name in parsed]


def _joined(name: str, elements: list[str], hint: Any) -> str:
    is_text_or_list = get_origin(hint) is not list and str in get_args(hint)
    if len(elements) == 1 and is_text_or_list:
        return f"{name}={json.loads(elements[0])}"
    return f"{name}=[{', '.join(elements)}]"


def find_config(name: str) -> Path:
    """A config file, or one of those in ``configs`` by its name without the suffix.

    Raises:
        MissingFileError: if it is neither.
    """
    if Path(name).is_file():
        return Path(name)
    bundled = {path.stem: path for path in (Path(__file__).parents[1] / "configs").glob("*.yaml")}
    if name not in bundled:
        raise MissingFileError(
            f"config {name} does not exist; expected a YAML file, or one of: "
            + ", ".join(sorted(bundled))
            + did_you_mean(name, bundled)
        )
    return bundled[name]


def _element(hint: Any) -> Any:
    """The type of the elements of a list or tuple, which may be one of several types; else None."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(filter(None, map(_element, get_args(hint))), None)
    return get_args(hint)[0] if get_origin(hint) in (list, tuple) else None


def _split(argument: str, element: Any) -> list[str]:
    """The elements that one argument names; none if it is another option, or no such element."""
    if argument.startswith("["):
        try:
            return [json.dumps(value) for value in load_yaml(argument)]
        except (yaml.YAMLError, TypeError):
            return []
    parts = [part.strip() for part in argument.split(",")]
    if element is str:
        return [] if argument.startswith("--") else [json.dumps(part) for part in parts]
    try:
        return parts if [float(part) for part in parts] else []
    except ValueError:
        return []
