"""Canonicalizers in folders, and on a hub that runs here; the network is never asked."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot import InputError, ModelCard, load_canonicalizer, push_to_hub, save_pretrained
from samrot.canonicalizers import build_canonicalizer, save_canonicalizer
from samrot.model_card import read_weight_file
from tests.canonicalizers.hub_server import Hub, serving
from tests.conftest import random_photo

CARD = ModelCard(licence="MIT", data="photos of ours: all rights", accuracy={"pose": 0.75})
FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as training writes it: without licence."""
    path = tmp_path_factory.mktemp("trained") / "canonicalizer.safetensors"
    torch.manual_seed(0)
    canonicalizer = build_canonicalizer("gcnn", size=33, widths=[4, 8])
    canonicalizer.trained_on = np.array([3, 9], dtype=np.uint64)
    save_canonicalizer(canonicalizer, path, architecture="gcnn", options={"widths": [4, 8]})
    return path


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    return save_pretrained(small, tmp_path / "model", card=CARD)


@pytest.mark.parametrize("name", ["c4", "c4_aspect", "d4", "so2"])
def test_a_folder_gives_what_was_bundled(name: str, tmp_path: Path) -> None:
    written = save_pretrained(name, tmp_path / "deep" / "model")
    assert {path.name for path in written.iterdir()} == FILES
    expected, found = load_canonicalizer(name), load_canonicalizer(written)
    photo = random_photo(0, 40, 63)
    assert torch.equal(found.logits(photo), expected.logits(photo))
    assert found.estimate(photo).tilt_deg == expected.estimate(photo).tilt_deg
    assert found.group is expected.group
    assert found.set_threshold == expected.set_threshold
    assert found.trained_on is not None
    assert expected.trained_on is not None
    assert np.array_equal(found.trained_on, expected.trained_on)
    header = read_weight_file(written / "model.safetensors").header
    # The folder does not depend on what a later samrot bundles, but for a tilt network.
    assert ("base" in header) == (name == "so2")
    assert header["licence"] == "Apache-2.0"


def test_the_card_is_one_of_the_hub(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert card.data.library_name == "samrot"
    assert card.data.to_dict()["group"] == "C4"
    assert "samrot" in card.data.tags
    for part in (
        "photos of ours: all rights",
        "| pose | 0.75 |",
        "- architecture: gcnn",
        "\nMIT\n",
    ):
        assert part in card.text
    config = json.loads((folder / "config.json").read_text())
    assert config["group"] == "C4"
    assert config["options"] == {"widths": [4, 8]}
    assert "trained_on" not in config
    found = load_canonicalizer(folder)
    assert found.trained_on is not None
    assert found.trained_on.tolist() == [3, 9]
    # What the header says goes on, and what is given stands above it.
    again = save_pretrained(folder / "model.safetensors", folder / "b", card=ModelCard(licence="X"))
    said = read_weight_file(again / "model.safetensors").card
    assert said == ModelCard(licence="X", data=CARD.data, accuracy=CARD.accuracy)


def test_a_model_without_licence_is_not_written(small: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"says no licence in its header .*; expected one: give ca"
    ):
        save_pretrained(small, tmp_path / "model", card=ModelCard(data="photos"))
    with pytest.raises(InputError, match="c5 does not exist"):
        save_pretrained("c5", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def _replace(name: str, content: bytes | None) -> Any:
    def change(folder: Path) -> None:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)

    return change


PICKLE = pickle.dumps({"weights": [1.0]}, protocol=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _replace("model.safetensors", PICKLE),
            "is a pickle, which could run code when it is read",
        ),
        (
            _replace("model.safetensors", None),
            "holds no model.safetensors; expected what samrot.sa",
        ),
        (_replace("README.md", None), "names no group; expected a README.md that begins with meta"),
        (_replace("README.md", b"---\nlicense: mit\n---\n# c4\n"), "names no group; expected"),
        (_replace("README.md", b"# C4\n\ngroup: C4\n"), "names no group; expected a README.md"),
        (_replace("README.md", b"---\n- C4\n---\n"), "names no group; expected a README.md"),
        (_replace("README.md", b"---\ngroup: [C4\n---\n"), "has metadata that are no YAML"),
        (
            _replace("README.md", b"---\na: &a [1]\ngroup: *a\n---\n"),
            "has metadata that are no YAML",
        ),
        (
            _replace("README.md", b"---\ngroup: D4\n---\n"),
            "the group 'D4', but its weights are of C4",
        ),
    ],
)
def test_folders_that_are_off(change: Any, message: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_canonicalizer(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["hf://c4", "hf://a/b/c", "hf://../b", "hf://a/b@", "hf://a/b@../c", "hf://a/ b"]
)
def test_ids_that_are_none(reference: str) -> None:
    with pytest.raises(InputError, match="is no id on the hub; expected hf://owner/name, or"):
        load_canonicalizer(reference)
    with pytest.raises(InputError, match="is no id on the hub; expected hf://owner/name, or"):
        push_to_hub("c4", reference.removeprefix("hf://"))


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: load_canonicalizer("hf://a/b"), lambda: push_to_hub("c4", "a/b")):
        with pytest.raises(InputError, match=r"not installed; pip install 'samrot\[hub\]'"):
            call()


@pytest.fixture
def hub() -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    with serving() as hub:
        yield hub


# Each line of the input is a list of name and arguments; of the output, what came of it.
CLIENT = """
import json, sys, warnings
import numpy as np, samrot
photo = np.random.default_rng(0).integers(0, 256, (40, 63, 3), dtype=np.uint8)
results = []
for name, *arguments in json.loads(sys.argv[1]):
    try:
        if name == "load":
            results.append(samrot.load_canonicalizer(*arguments).logits(photo).tolist())
        else:
            card = samrot.ModelCard(licence="MIT")
            results.append(samrot.push_to_hub(*arguments, card=card, private=True))
    except samrot.InputError as error:
        results.append(f"InputError: {error}")
print(json.dumps(results))
"""


def client(
    endpoint: str, home: Path, calls: list[list[str]], token: str | None = None, **more: str
) -> list[Any]:
    """What a process of a user's says, who has set HF_ENDPOINT."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        **more,
    }
    environment |= {} if token is None else {"HF_TOKEN": token}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(calls)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.slow
def test_what_is_pushed_is_loaded(small: Path, hub: Hub, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 63, 3), dtype=np.uint8)
    expected = load_canonicalizer(small).logits(photo).tolist()
    calls = [
        ["push", str(small), "me/turned"],
        ["load", "hf://me/turned"],
        ["push", str(small), "me/turned"],  # once more: it is there
    ]
    assert client(hub.endpoint, tmp_path / "home", calls, token="right") == [
        "hf://me/turned", expected, "hf://me/turned"
    ]  # fmt: skip
    assert hub.models["me/turned"].keys() == FILES
    commit = hub.commit("me/turned")
    hub.models["me/turned"]["pytorch_model.bin"] = PICKLE  # which is not even downloaded
    found = client(
        hub.endpoint, tmp_path / "new", [["load", f"hf://me/turned@{hub.commit('me/turned')}"]]
    )
    assert found == [expected]
    assert commit != hub.commit("me/turned")
    assert not any("pytorch_model.bin" in request for request in hub.requests)
    assert not list((tmp_path / "new").rglob("pytorch_model.bin"))
    # What was downloaded once is found again where there is no hub.
    calls = [["load", "hf://me/turned"], ["load", "hf://me/other"]]
    again, other = client("http://127.0.0.1:9", tmp_path / "home", calls)
    assert again == expected
    assert "hf://me/other is not in the cache, and the hub cannot be reached; connect" in other


@pytest.mark.slow
def test_what_the_hub_refuses_is_one_line(hub: Hub, folder: Path, tmp_path: Path) -> None:
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.models = {
        "a/whole": whole,
        "a/gated": whole,
        "a/pickle": {**whole, "model.safetensors": PICKLE},
        "a/bin": {"README.md": whole["README.md"], "pytorch_model.bin": PICKLE},
        "a/nogroup": {**whole, "README.md": b"---\nlicense: mit\n---\n"},
        "a/nocard": {"model.safetensors": whole["model.safetensors"]},
    }
    hub.gated = {"a/gated"}
    expected = {
        "hf://a/none": "hf://a/none is not on the hub, or not open to you; expected hf://owner",
        "hf://a/whole@v2": "hf://a/whole@v2 is no branch, tag or commit of that model; expected",
        "hf://a/gated": "hf://a/gated is open to those alone who accept its terms; accept them on",
        "hf://a/pickle": "is a pickle, which could run code when it is read; expected safetensors",
        "hf://a/bin": "hf://a/bin holds no model.safetensors; expected what samrot.save_pretrained",
        "hf://a/nogroup": "the card of hf://a/nogroup names no group; expected a README.md that",
        "hf://a/nocard": "the card of hf://a/nocard names no group; expected a README.md that beg",
    }
    found = client(hub.endpoint, tmp_path / "home", [["load", reference] for reference in expected])
    for line, message in zip(found, expected.values(), strict=True):
        assert line.startswith("InputError: ")
        assert message in line
        assert "\n" not in line
    refused = client(hub.endpoint, tmp_path / "home", [["push", "c4", "a/new"]], token="wrong")[0]
    assert refused.startswith("InputError: hf://a/new")
    assert "hf auth login" in refused
    assert "\n" not in refused
    assert "a/new" not in hub.models


def test_the_document_runs(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shutil.copy(small, tmp_path / "runs" / "mine" / "canonicalizer.safetensors")
    monkeypatch.chdir(tmp_path)
    pushed: list[str] = []
    monkeypatch.setattr(samrot, "push_to_hub", lambda *names, **options: pushed.append(names[1]))
    text = (Path(__file__).parents[2] / "docs" / "hub.md").read_text()
    load = load_canonicalizer
    monkeypatch.setattr(
        samrot,
        "load_canonicalizer",
        lambda name, **options: load("published" if name.startswith("hf://") else name, **options),
    )
    names: dict[str, object] = {}
    for block in text.split("```python\n")[1:]:
        exec(block.partition("```")[0], names)
    assert pushed == ["owner/name"]
    assert {path.name for path in (tmp_path / "published").iterdir()} == FILES
