"""What takes back the changes that ``samrot upright --in_place`` made."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from samrot.data.storage import Place, write_bytes
from samrot.errors import InputError, MissingFileError
from samrot.runtime.locks import alone_in
from samrot.runtime.records import RecordAppender, RecordStore

UNDO, ORIGINALS = "undo.jsonl", "originals"
LARGEST_PATCH = 4096  # bytes; of a larger change the original is kept


class UndoLog:
    """Notes each change of a photo on the disk before it is made; a process has one.

    Args:
        out: run folder.
        rank: number of the process.
    """

    def __init__(self, out: Path, rank: int) -> None:
        self.out = out
        self.rank = rank
        self._noted: dict[str, dict[str, Any]] = {}

    def open(self) -> None:
        """Read what an interrupted run noted; the folder is there."""
        self.store = RecordStore(self.out, None, id_key="image", name=Path(UNDO).stem)
        self._noted = {
            entry["image"]: {"sha256": entry["sha256_after"], "row": entry["row"]}
            for entry in self.store.unmerged()
        }
        self.appender: RecordAppender = self.store.appender(self.rank)

    def what_made(self, place: Place, content: bytes) -> dict[str, Any] | None:
        """The row of the change that made a photo what it is; None if it is unchanged."""
        noted = self._noted.get(_key(place))
        if noted is None or noted["sha256"] != _sha256(content):
            return None
        row: dict[str, Any] = noted["row"]
        return row

    def note(
        self, name: str, place: Place, content: bytes, changed: bytes, row: dict[str, Any]
    ) -> None:
        """Keep what takes a change back: the bytes that differ, or the original.

        Args:
            name: name of the photo's results.
            place: the photo, a file here.
            content: bytes of the photo.
            changed: what they are to become.
            row: what is to be recorded of the change.
        """
        start = _first_difference(content, changed)
        end = _first_difference(content[start:][::-1], changed[start:][::-1])
        entry: dict[str, Any] = {
            "image": _key(place),
            "sha256_before": _sha256(content),
            "sha256_after": _sha256(changed),
            "row": row,
        }
        removed = content[start : len(content) - end]
        if len(removed) > LARGEST_PATCH:
            kept = self.out / ORIGINALS / name
            write_bytes(kept, content, like=place)
            entry["original"] = str(kept.resolve())
        else:
            length = len(changed) - start - end
            entry["patch"] = {"start": start, "length": length, "bytes": removed.hex()}
        self.appender.append(entry, durable=True)


def _key(place: Place) -> str:
    return str(Path(place).resolve())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _first_difference(one: bytes, other: bytes) -> int:
    """The place of the first byte that differs, or the length of the shorter one."""
    length = min(len(one), len(other))
    differs = np.frombuffer(one, np.uint8, length) != np.frombuffer(other, np.uint8, length)
    return int(differs.argmax()) if differs.any() else length


def undo(path: str | Path) -> tuple[int, dict[str, str]]:
    """Take back the changes of a run in place; photos that were changed since are left alone.

    Args:
        path: ``undo.jsonl`` of that run.

    Returns:
        How many photos were restored, and why others were not.

    Raises:
        InputError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"undo {path} does not exist; expected the {UNDO} of a run in place")
    out = path.parent
    restored: set[str] = set()
    failed: dict[str, str] = {}
    with alone_in(out):
        log = RecordStore(out, None, id_key="image", name=path.stem)
        for entry in log.unmerged():
            try:
                _restore(Path(entry["image"]), entry)
                restored.add(entry["image"])
            except (InputError, OSError) as error:
                failed[entry["image"]] = str(error)
        for old in (*out.glob("summary.json"), *out.glob("records*.jsonl")):
            old.unlink()  # they say what is so no more: the same command would begin anew
    return len(restored), failed


def _restore(image: Path, entry: dict[str, Any]) -> None:
    present = image.read_bytes()
    digest = _sha256(present)
    if digest == entry["sha256_before"]:  # never changed, or restored already
        return
    if digest != entry["sha256_after"]:
        raise InputError("it was changed since; restore it by hand")
    if "original" in entry:
        original = Path(entry["original"]).read_bytes()
    else:
        patch = entry["patch"]
        rest = present[patch["start"] + patch["length"] :]
        original = present[: patch["start"]] + bytes.fromhex(patch["bytes"]) + rest
    if _sha256(original) != entry["sha256_before"]:
        raise InputError("what was kept of it is damaged; restore it by hand")
    write_bytes(image, original, like=image)
