"""What weight files say of themselves, and files that say nothing, or lie."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from samrot import weights
from samrot.canonicalizers import load_canonicalizer
from samrot.errors import InputError, MissingFileError
from samrot.model_card import ModelCard, read_weight_file, refuse_pickle


def test_the_header_is_that_which_loads() -> None:
    path = weights.bundled(weights.BUNDLED["c4"][0])
    file = read_weight_file(path)
    state, header = weights.load(path, format_name="samrot-canonicalizer")
    assert file.header == header
    assert file.num_parameters == sum(tensor.numel() for tensor in state.values())
    assert file.num_bytes == path.stat().st_size
    assert file.card.licence == "Apache-2.0"
    assert file.card.to_header().keys() == {"licence", "data", "accuracy"}
    assert ModelCard.of_header(file.card.to_header()) == file.card
    assert ModelCard().to_header() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"licence": 3}, "licence of the model card is 3; expected a text"),
        ({"data": ["photos"]}, "data of the model card is .*; expected a text"),
        ({"accuracy": {"pose": "high"}}, "accuracy of the model card is .*; expected finite num"),
        ({"accuracy": {"pose": float("nan")}}, "expected finite numbers"),
        ({"accuracy": 0.9}, "accuracy of the model card is 0.9; expected finite numbers by what"),
    ],
)
def test_a_card_that_is_none(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ModelCard(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 20,
        (9).to_bytes(8, "little") + b"no JSON..",
        (2).to_bytes(8, "little") + b"[]",
        (20).to_bytes(8, "little") + b'{"a": {"shape": "x"}}',
        (17).to_bytes(8, "little") + b'{"a": {"b": [1]}}',
    ],
)
def test_what_is_no_weight_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.safetensors cannot be read .* truncated or not saf"):
        read_weight_file(path)


def test_files_without_a_header_of_ours(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="has no header of samrot's; expected a file that samrot"):
        read_weight_file(tmp_path / "x.safetensors")
    with pytest.raises(MissingFileError, match="does not exist; expected a safetensors file"):
        read_weight_file(tmp_path / "y.safetensors")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5, "torch"])
def test_pickles_are_refused(protocol: int | str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    if protocol == "torch":
        torch.save({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": 1}, protocol=int(protocol)))
    for read in (read_weight_file, load_canonicalizer):
        with pytest.raises(InputError, match=r"x\.safetensors is a pickle, which could run code"):
            read(path)


@pytest.mark.parametrize("length", [0x0280, 0x0480])
def test_a_header_that_begins_like_a_pickle_is_read(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    text = json.dumps({"__metadata__": {"samrot": '{"format": "x"}'}}).ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + text.encode())
    refuse_pickle(path)
    assert read_weight_file(path).header == {"format": "x"}
