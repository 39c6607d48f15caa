"""Plug-ins: what other packages bring, found by their entry points.

The search costs some hundredths of a second, and an import of strangers' code more. So packages are
searched only for a name that is none of samrot's own, or when all are listed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from samrot.errors import InputError

# Entry-point group without ``samrot.`` -> what one of it is called in messages.
FAMILIES = {"segmenters": "segmenter", "canonicalizers": "canonicalizer", "methods": "method"}


@dataclass(frozen=True)
class Plugin:
    """An entry point of another package; its code is not imported yet.

    Args:
        family: a key of ``FAMILIES``.
        name: name that users give.
        entry_points: entry points of that name; more than one where packages disagree.
    """

    family: str
    name: str
    entry_points: tuple[metadata.EntryPoint, ...]

    @property
    def package(self) -> str:
        """Name and version of the package that brings it, or of those that do."""
        return " and ".join(
            f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module
            for entry in self.entry_points
        )

    @property
    def licence(self) -> str | None:
        """Licence that the package declares; None where it declares none."""
        dist = self.entry_points[0].dist
        told: Mapping[str, Any] = {} if dist is None else dist.metadata.json
        lines = (str(told.get(key, "")).strip() for key in ("license_expression", "license"))
        return next((line.splitlines()[0] for line in lines if line), None)

    def __str__(self) -> str:
        return f"{FAMILIES[self.family]} {self.name!r} of the package {self.package}"

    def load(self) -> Callable[..., Any]:
        """Import what makes it.

        Raises:
            InputError: if that fails, is not callable, or several packages bring that name.
        """
        if len(self.entry_points) > 1:
            raise InputError(f"{self} is there more than once; expected one: uninstall the others")
        try:
            made = self.entry_points[0].load()
        except (Exception, SystemExit) as error:  # a module of another package may raise anything
            raise InputError(
                f"{self} cannot be imported ({describe_error(error)}); mend, update or uninstall "
                "that package"
            ) from error
        if not callable(made):
            raise InputError(
                f"{self} is a {type(made).__name__}; expected a callable that makes the "
                f"{FAMILIES[self.family]}: mend, update or uninstall that package"
            )
        loaded: Callable[..., Any] = made
        return loaded

    def make(self, *arguments: Any) -> Any:
        """Import and call it.

        Raises:
            InputError: as ``load``; and if the call fails, whatever it raises.
        """
        load = self.load()
        try:
            return load(*arguments)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise self.refusal(f"raises {describe_error(error)}") from error

    def refusal(self, fault: str) -> InputError:
        """An error that names the plug-in and what is wrong with it."""
        return InputError(f"{self} {fault}; mend, update or uninstall that package")


def find_plugins(family: str) -> dict[str, Plugin]:
    """All plug-ins of a family, by name; none of them is imported.

    Args:
        family: a key of ``FAMILIES``.
    """
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry in metadata.entry_points(group=f"samrot.{family}"):
        found.setdefault(entry.name, []).append(entry)
    return {name: Plugin(family, name, tuple(found[name])) for name in sorted(found)}


def usable_plugins(own: Mapping[str, Collection[str]]) -> list[Plugin]:
    """All plug-ins that can be used; of each that cannot, a warning says why.

    Args:
        own: a key of ``FAMILIES`` -> names of samrot's own, which no plug-in may take.
    """
    usable = []
    for family, names in own.items():
        for plugin in find_plugins(family).values():
            try:
                if plugin.name in names:
                    raise InputError(
                        f"{plugin} has the name of one of samrot's own, which is what that name "
                        "gives; expected another name: mend or uninstall that package"
                    )
                plugin.load()
                usable.append(plugin)
            except InputError as error:
                warnings.warn(str(error), stacklevel=2)
    return usable


def describe_error(error: BaseException) -> str:
    """Kind and message of an error, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300].removesuffix(":")
