"""Canonicalizers on the Hugging Face hub, and in folders of its kind: written, pushed, read.

Such a folder holds ``model.safetensors``, a checkpoint of samrot with nothing left out;
``config.json``, what its header says, for those who read without samrot; and ``README.md``, the
model card, whose metadata name the group. No other file is read, and no code is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from yaml import YAMLError, safe_dump

from samrot import __version__
from samrot.canonicalizers.canonicalizer import Canonicalizer
from samrot.canonicalizers.checkpoints import load_checkpoint, read_checkpoint, write_checkpoint
from samrot.errors import InputError, MissingFileError
from samrot.files import load_yaml, write_text
from samrot.model_card import ModelCard

SCHEME = "hf://"
_MODEL, _CONFIG, _CARD = "model.safetensors", "config.json", "README.md"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REFERENCE = re.compile(rf"hf://({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?")
_TAGS = ["samrot", "canonicalization", "equivariance", "segment-anything"]
_NOT_INSTALLED = "huggingface_hub is not installed; pip install 'samrot[hub]'"


class _Reference(NamedTuple):
    """A model on the hub.

    Args:
        repo_id: ``owner/name``.
        revision: branch, tag or commit; None for the newest.
    """

    repo_id: str
    revision: str | None


def save_pretrained(name: str | Path, folder: str | Path, *, card: ModelCard | None = None) -> Path:
    """Write a canonicalizer as a folder that the hub takes, and ``load_canonicalizer`` reads.

    Weights that a checkpoint shares with a bundled one are written out, so that the folder does not
    depend on the version of samrot; but for the base of a tilt network, which the card names.

    Args:
        name: name of a bundled canonicalizer, or path of a checkpoint that ``samrot train`` wrote.
        folder: folder to write to; it is made if it is not there.
        card: licence, training data and accuracy; what it leaves open the checkpoint's own header
            says.

    Returns:
        The folder.

    Raises:
        InputError: if there is no such checkpoint, or no licence is said; nothing is written then.
    """
    path, state, header = read_checkpoint(name)
    group = load_checkpoint(name).group.name  # and so it is one that loads
    own = ModelCard.of_header(header)
    header |= {} if card is None else card.to_header()
    whole = ModelCard.of_header(header)
    if whole.licence is None:
        raise InputError(
            f"canonicalizer {name} says no licence in its header ({path}, {own}); expected one: "
            "give card=samrot.ModelCard(licence='Apache-2.0', data='photos and their terms')"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder / _MODEL, state, header)
    facts = {key: value for key, value in header.items() if key != "trained_on"}
    config = {"library_name": "samrot", "samrot_version": __version__, "group": group, **facts}
    write_text(folder / _CONFIG, json.dumps(config, indent=2) + "\n")
    write_text(folder / _CARD, _card_text(whole, config))
    return folder


def push_to_hub(
    name: str | Path,
    repo_id: str,
    *,
    card: ModelCard | None = None,
    private: bool = False,
    message: str = "Upload canonicalizer",
) -> str:
    """Put a canonicalizer on the hub, as ``save_pretrained`` writes it; the model is made if new.

    Args:
        name, card: as of ``save_pretrained``.
        repo_id: ``owner/name`` on the hub; you are logged in (``hf auth login``, or HF_TOKEN).
        private: only its owner sees it, where it is new.
        message: message of the commit.

    Returns:
        What ``load_canonicalizer`` takes: ``hf://owner/name``.

    Raises:
        InputError: as ``save_pretrained``; or if huggingface_hub is not installed, the id is none,
            or the hub refuses.
    """
    reference = SCHEME + repo_id
    if _parse(reference).revision is not None:
        raise InputError(f"repo_id is {repo_id!r}; expected owner/name, without a revision")
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError(_NOT_INSTALLED) from error
    with TemporaryDirectory() as folder:
        save_pretrained(name, folder, card=card)
        with _one_line(reference):
            hub = HfApi(library_name="samrot", library_version=__version__)
            hub.create_repo(repo_id, private=private, exist_ok=True)
            hub.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return reference


def load_pretrained(place: str | Path) -> Canonicalizer:
    """A canonicalizer from a folder, or from the hub, on the CPU, ready for inference.

    Args:
        place: a folder that ``save_pretrained`` wrote, or ``hf://owner/name``, of a branch, tag or
            commit ``hf://owner/name@revision``; what was downloaded once is found again.

    Raises:
        InputError: if there is no such model, it is not in that form, or its card names no group,
            or another one than its weights are of.
    """
    is_on_hub = str(place).startswith(SCHEME)
    folder = _download(str(place)) if is_on_hub else Path(place)
    if not (folder / _MODEL).is_file():
        raise MissingFileError(
            f"{place} holds no {_MODEL}; expected what samrot.save_pretrained writes: other files, "
            "pickles among them, are not read"
        )
    group = _group_of_card(folder / _CARD, str(place))
    canonicalizer = load_checkpoint(folder / _MODEL)
    if canonicalizer.group.name != group:
        raise InputError(
            f"the card of {place} names the group {group!r}, but its weights are of "
            f"{canonicalizer.group.name}; write both by samrot.save_pretrained"
        )
    return canonicalizer


def _parse(reference: str) -> _Reference:
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise InputError(
            f"canonicalizer {reference!r} is no id on the hub; expected hf://owner/name, or "
            "hf://owner/name@revision"
        )
    return _Reference(found[1], found[2])


def _download(reference: str) -> Path:
    """The folder of a model on the hub, in the cache of huggingface_hub."""
    repo_id, revision = _parse(reference)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InputError(_NOT_INSTALLED) from error
    with _one_line(reference):
        return Path(
            snapshot_download(
                repo_id, revision=revision, allow_patterns=[_MODEL, _CARD],
                library_name="samrot", library_version=__version__,
            )
        )  # fmt: skip


@contextmanager
def _one_line(reference: str) -> Iterator[None]:
    """Turn what goes wrong with the hub into one line that names the model and the remedy."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"{reference} is open to those alone who accept its terms; accept them on its page, "
            "then log in: hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{reference} is not on the hub, or not open to you; expected hf://owner/name of a "
            "model: check the id, or log in: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{reference} is no branch, tag or commit of that model; expected one, or leave out "
            "what follows @"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{reference} is not in the cache, and the hub cannot be reached; connect to it once, "
            "or give a folder (HF_ENDPOINT names another hub, HF_HUB_OFFLINE forbids it)"
        ) from error
    except Exception as error:  # those of its HTTP library differ between versions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{reference}: the hub refuses ({reason}); check the id, and that you are logged in "
            "with the right to it: hf auth login"
        ) from error


def _group_of_card(path: Path, place: str) -> str:
    """The group that the metadata of a model card name.

    Raises:
        InputError: if there is no card, or it names none.
    """
    text = path.read_text(errors="replace") if path.is_file() else ""
    metadata: Any = None
    if (found := re.match(r"---\s*\n(.*?\n)---\s*(?:\n|$)", text, flags=re.DOTALL)) is not None:
        try:
            metadata = load_yaml(found[1])
        except YAMLError as error:
            raise InputError(
                f"the card of {place} has metadata that are no YAML "
                f"({' '.join(str(error).split())}); write it by samrot.save_pretrained"
            ) from error
    group = metadata.get("group") if isinstance(metadata, dict) else None
    if not isinstance(group, str):
        raise InputError(
            f"the card of {place} names no group; expected a {_CARD} that begins with metadata "
            "such as 'group: C4' between two lines of ---: samrot.save_pretrained writes it"
        )
    return group


def _card_text(card: ModelCard, config: dict[str, Any]) -> str:
    """The model card: metadata, and a page for people."""
    assert card.licence is not None
    metadata = {
        "library_name": "samrot",
        "license": card.licence.lower(),
        "tags": _TAGS,
        "group": config["group"],
    }
    measured = "".join(f"| {what} | {value:g} |\n" for what, value in card.accuracy.items())
    table = f"| measured | value |\n|---|---|\n{measured}" if measured else "Not said.\n"
    facts = ("architecture", "group", "size", "frame", "base", "samrot_version")
    known = "".join(f"- {fact}: {config[fact]}\n" for fact in facts if fact in config)
    return f"""---
{safe_dump(metadata, sort_keys=False)}---
# A canonicalizer for {config["group"]}

It says how a photo is turned (an element of {config["group"]}), so that a model that knows
upright photos alone, Segment Anything first, can be asked in the canonical frame: see samrot, and
arXiv 2310.01647.

```python
import samrot

canonicalizer = samrot.load_canonicalizer("hf://OWNER/NAME")  # pip install 'samrot[hub]'
predictor = samrot.RobustPredictor(samrot.load_segmenter("sam_mini"), canonicalizer)
```

## What it is
{known}
Its evidence obeys the law of its group by construction: evidence(g x)[h] = evidence(x)[g^-1 h].

## Trained on
{card.data or "Not said."}

## Accuracy
{table}
## Licence
{card.licence}
"""
