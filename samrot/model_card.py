"""What a weight file says of itself, read from its header: no tensor is read, nothing is imported.

A safetensors file begins with the length of its header, 8 bytes, little-endian; the header is JSON:
the shape of every tensor, and under ``__metadata__`` samrot's own, as JSON again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from samrot.errors import InputError, MissingFileError

_LONGEST = 100_000_000  # bytes of a header, as safetensors has it
# Beginnings of what torch.save and pickle write.
_PICKLES = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Where weights come from, and what they are worth.

    Args:
        licence: licence of the weights, by its SPDX name, as ``Apache-2.0``; None: not said.
        data: what they were trained on, and its terms; None: not said.
        accuracy: what was measured, and on what, to its value, as
            ``{"pose, 573 photos kept aside": 0.92}``.

    Raises:
        InputError: if one of them is of another type.
    """

    licence: str | None = None
    data: str | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("licence", "data"):
            if not isinstance(getattr(self, name), str | None):
                raise InputError(
                    f"{name} of the model card is {getattr(self, name)!r}; expected a text"
                )
        values = self.accuracy.values() if isinstance(self.accuracy, Mapping) else [None]
        if not all(isinstance(value, Real) and math.isfinite(value) for value in values):
            raise InputError(
                f"accuracy of the model card is {self.accuracy!r}; expected finite numbers by what "
                "was measured"
            )

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> ModelCard:
        """The card in samrot's part of a header; what it does not say is left open.

        Raises:
            InputError: if an entry is of another type.
        """
        return cls(
            licence=header.get("licence"),
            data=header.get("data"),
            accuracy=header.get("accuracy", {}),
        )

    def to_header(self) -> dict[str, Any]:
        """The entries of a header, without those that are not said."""
        entries = {"licence": self.licence, "data": self.data, "accuracy": dict(self.accuracy)}
        return {name: value for name, value in entries.items() if value}


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A weight file, as its header describes it.

    Args:
        path: path of the file.
        header: samrot's part of the header: format, architecture, group and the like.
        num_parameters: numbers in all its tensors.
        num_bytes: size of the file.
    """

    path: Path
    header: dict[str, Any]
    num_parameters: int
    num_bytes: int

    @property
    def card(self) -> ModelCard:
        """Licence, training data and accuracy."""
        return ModelCard.of_header(self.header)


def read_weight_file(path: str | Path) -> WeightFile:
    """Describe a safetensors file by its header alone.

    Raises:
        MissingFileError: if there is no such file.
        InputError: if it is a pickle, damaged, or has no header of samrot's.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"checkpoint {path} does not exist; expected a safetensors file")
    refuse_pickle(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LONGEST:
                raise ValueError(f"its header would be {length} bytes long")
            tensors = json.loads(file.read(length))
        header = json.loads(tensors.pop("__metadata__", {}).get("samrot", "{}"))
        shapes = [entry["shape"] for entry in tensors.values()]
        parameters = sum(math.prod(map(int, shape)) for shape in shapes)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({error}); it is truncated or not safetensors: "
            "restore the file"
        ) from error
    if not isinstance(header, dict) or not header:
        raise InputError(
            f"checkpoint {path} has no header of samrot's; expected a file that samrot wrote"
        )
    return WeightFile(
        path=path, header=header, num_parameters=parameters, num_bytes=path.stat().st_size
    )


def refuse_pickle(path: str | Path) -> None:
    """Refuse what ``torch.save`` or pickle wrote: reading it could run code.

    Raises:
        InputError: if the file begins as such a file does.
    """
    with Path(path).open("rb") as file:
        start = file.read(9)
    # A header of 640 to 1,407 bytes begins like a pickle, but for its zeros and brace.
    is_safetensors = start[2:8] == bytes(6) and start[8:] == b"{"
    if start.startswith(_PICKLES) and not is_safetensors:
        raise InputError(
            f"checkpoint {path} is a pickle, which could run code when it is read; expected "
            "safetensors: save it by samrot, or ask who made it to"
        )
