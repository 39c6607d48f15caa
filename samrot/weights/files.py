"""Weight files: tensors and a header, saved whole or not at all, and never run as code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from samrot.errors import InputError, MissingFileError
from samrot.files import load_torch, save_tensors, save_torch
from samrot.model_card import refuse_pickle

if TYPE_CHECKING:
    from torch import Tensor

# Numbers as safetensors may hold them, by the names of their types in torch.
FLOATS = ("float16", "bfloat16", "float32", "float64")


def save(
    path: str | Path, state: dict[str, Tensor], *, format_name: str, header: dict[str, Any]
) -> None:
    """Write tensors and a JSON header as safetensors; the file appears whole or not at all.

    Floating-point tensors are stored in half precision; ``load`` makes them float32 again.
    """
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in state.items()
    }
    save_tensors(path, tensors, {"samrot": json.dumps({"format": format_name, **header})})


def save_official(path: str | Path, state: dict[str, Tensor]) -> None:
    """Write tensors in the format of the official SAM checkpoints; whole or not at all."""
    save_torch(path, {name: tensor.detach().cpu() for name, tensor in state.items()})


def load(path: str | Path, *, format_name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save`` wrote; as float32.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is a pickle, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"checkpoint {path} does not exist; expected a {format_name} file")
    refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, LookupError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}); it is truncated or not safetensors: "
            "restore the file"
        ) from error
    header = None
    with suppress(ValueError, RecursionError):
        header = json.loads(metadata.get("samrot", "{}"))
    if not isinstance(header, dict):
        raise InputError(f"checkpoint {path} has a header that is no JSON object; restore the file")
    if header.get("format") != format_name:
        raise InputError(
            f"checkpoint {path} has format {header.get('format')!r}; expected {format_name!r}"
        )
    state = {name: t.float() if kind_of(t) in FLOATS else t for name, t in tensors.items()}
    return state, header


def check_header(
    header: dict[str, Any], types: Mapping[str, tuple[type, ...]], path: str | Path
) -> None:
    """Refuse a header that lacks an entry, or has one of another type.

    Raises:
        InputError: naming the first.
    """
    for name, kinds in types.items():
        if type(header.get(name)) not in kinds:
            raise InputError(
                f"checkpoint {path}: its header has the {name} {str(header.get(name))[:60]!r}; "
                f"expected a value of type {kinds[0].__name__}: restore the file"
            )


def check_network(setting: str, name: str, header: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a checkpoint of another network than is asked for.

    Args:
        setting: name of the setting that asks for it, for messages.
        name: what it is set to.
        header: header of the checkpoint, with its ``network``.
        path: path of the checkpoint, for messages.

    Raises:
        InputError: naming both.
    """
    if header["network"] != name:
        raise InputError(
            f"{setting} is {name!r}, but checkpoint {path} is a {header['network']}; set {setting} "
            f"to {header['network']}"
        )


def load_official(path: str | Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Read a checkpoint in the format of the official SAMs; no code in the file is run.

    Args:
        path: path of the file.
        key: where the weights are, in a dict that may hold other things too; or bare.

    Raises:
        InputError: if it is damaged, or holds anything but names and tensors.
    """
    from torch import Tensor

    state = load_torch(path, "download it again")
    if isinstance(state, dict) and key in state:
        state = state[key]
    pairs = state.items() if isinstance(state, dict) else [(None, state)]
    if not all(isinstance(name, str) and isinstance(part, Tensor) for name, part in pairs):
        raise InputError(f"{path} holds something else than names and weights; download it again")
    return dict(state)


def kind_of(tensor: Tensor) -> str:
    """Type of a tensor's numbers, as ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")
