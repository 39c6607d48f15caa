"""Files that appear whole or not at all, and errors that name them."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samrot.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


_DEEPEST_YAML = 32


def check_yaml(text: str) -> None:
    """Refuse YAML that refers to itself, or nests deeply: a few lines of it would fill the memory.

    Raises:
        yaml.YAMLError: if it does, or is no YAML.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"it holds *{event.anchor}; write out what that stands for")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_YAML:
            raise yaml.YAMLError(f"it is more than {_DEEPEST_YAML} lists or mappings deep")


def load_yaml(text: str) -> Any:
    """``yaml.safe_load`` of what ``check_yaml`` takes."""
    import yaml

    check_yaml(text)
    return yaml.safe_load(text)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` at the end.

    If writing fails (a full disk, an interruption), what was there before stays, and nothing else.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with naming(path):
            yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text)


def write_pieces(path: str | Path, pieces: Iterable[str]) -> None:
    """Write a text file, whole or not at all, from pieces that need not fit into memory."""
    with replacing(path) as partial, partial.open("w") as file:
        file.writelines(pieces)


def json_list(values: Iterable[Any]) -> Iterator[str]:
    """The pieces of a JSON list, a value a line; NaN is refused."""
    yield "["
    for number, value in enumerate(values):
        yield (",\n" if number else "\n") + json.dumps(value, allow_nan=False)
    yield "\n]"


def is_disk_full(error: OSError) -> bool:
    """Whether nothing more can be written, whatever file it is."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the file's name into an OSError that has none, as of a disk that is full."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def save_tensors(
    path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """``safetensors.torch.save_file``, whole or not at all.

    Raises:
        OSError: if the disk is full, which safetensors reports as an error of its own.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata=metadata)
        except SafetensorError as error:
            raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from error


def save_torch(path: str | Path, content: object) -> None:
    """``torch.save``, whole or not at all.

    Raises:
        OSError: if the disk is full, which torch reports as an error of its own.
    """
    import torch

    with replacing(path) as partial:
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_torch(path: str | Path, remedy: str) -> Any:
    """``torch.load`` of tensors and plain values, to the CPU; no code in the file is run.

    Args:
        path: path of a file that exists.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: if it is truncated, or holds anything else.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError),
        *(AssertionError, AttributeError, LookupError, TypeError),
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's advice would be to run the code
            reason = "it holds code, or what is no tensor"
        raise InputError(
            f"{path} cannot be read ({reason}); it is truncated or no torch file: {remedy}"
        ) from error
