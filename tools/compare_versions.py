r"""The same photos through two versions of samrot: which poses, masks and scores changed.

python tools/compare_versions.py BASE HEAD --images FOLDER --annotations JSON --out OUT \
    [--limit 8] [-- ANY OPTION OF samrot evaluate ...]

BASE and HEAD are commits, tags or branches of this repository, or folders that hold a samrot
package. Each is run as it was then, by this Python, with ``samrot evaluate`` on the same photos;
then the records are compared view by view. OUT keeps both runs (the same command compares them
again at once) and gets compare_versions.md. Exit code 1 if something changed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPOSITORY = Path(__file__).parents[1]
# What is compared of each view of each photo.
FIELDS = ("pose", "masks", "scores", "ious", "boxes_xywh")
RECORDS = ("records*.jsonl", "photos*.jsonl")  # today's, and those of 0.1.0


def run_version(version: str, out: Path, options: list[str]) -> None:
    """Evaluate with one version of samrot; a run that is complete is left as it is."""
    if Path(version).is_dir():
        _evaluate(Path(version), out, options)
        return
    with TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(REPOSITORY), "archive", version, "samrot"],
            capture_output=True, check=False,
        )  # fmt: skip
        if archive.returncode:
            raise SystemExit(
                f"{version!r} is neither a folder nor a commit here ({archive.stderr.decode()})"
            )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        _evaluate(Path(folder), out, options)


def _evaluate(source: Path, out: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "samrot", "evaluate", *options, "--out", str(out.resolve())]
    done = subprocess.run(
        command, cwd=source, env={**os.environ, "PYTHONPATH": str(source.resolve())}, check=False
    )
    if done.returncode:
        raise SystemExit(f"samrot of {source} ended with exit code {done.returncode}")


def read_views(run: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Method, view and photo -> what was recorded."""
    paths = [path for pattern in RECORDS for path in sorted(run.glob(pattern))]
    return {
        (method, view, record["image_id"]): result
        for path in paths
        for record in map(json.loads, path.read_text().splitlines())
        for method, by_view in record["methods"].items()
        for view, result in by_view.items()
    }


def changes(before: Any, after: Any) -> Iterator[float]:
    """For each of several things that changed, by how much; 1 where that is no number."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for first, second in zip(before, after, strict=True):
            yield from changes(first, second)
    elif before != after:
        numbers = isinstance(before, float) and isinstance(after, float)
        yield abs(before - after) if numbers else 1.0


def compare(base: Path, head: Path) -> tuple[str, bool]:
    """A table of what changed, and whether anything did."""
    before, after = read_views(base), read_views(head)
    if before.keys() != after.keys():
        raise SystemExit(f"{base} and {head} hold different photos, methods or views")
    found: dict[tuple[str, str], list[tuple[str, int, list[float]]]] = defaultdict(list)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for (method, view, image_id), old in before.items():
        new = after[method, view, image_id]
        for name in FIELDS:
            if name in old or name in new:
                counts[method, name] += 1
                if differences := list(changes(old.get(name), new.get(name))):
                    found[method, name].append((view, image_id, differences))
    lines = [
        f"{len({key[2] for key in before})} photos, {len({key[1] for key in before})} views",
        "",
        "| method | what | views | views changed | values changed | largest change | first |",
        "|---|---|---|---|---|---|---|",
    ]
    for (method, name), count in counts.items():
        changed = found[method, name]
        every = [difference for _, _, differences in changed for difference in differences]
        first = f"photo {changed[0][1]} at {changed[0][0]}" if changed else "-"
        largest = f"{max(every):.3g}" if every else "-"
        if name in ("pose", "masks"):
            largest = "-"
        lines.append(
            f"| {method} | {name} | {count} | {len(changed)} | {len(every)} | {largest} | {first} |"
        )
    return "\n".join(lines) + "\n", any(found.values())


def first_photos(arguments: argparse.Namespace) -> Path:
    """A COCO JSON of the first photos alone: versions differ in what ``--limit`` takes."""
    content = json.loads(arguments.annotations.read_text())
    content["images"] = sorted(content["images"], key=lambda i: i["id"])[: arguments.limit]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = (arguments.out / "annotations.json").resolve()
    path.write_text(json.dumps(content))
    return path


def main() -> None:
    """Run both versions, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="After --: any option of samrot evaluate."
    )
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=8)
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_args(given[:end])
    options = [
        "--data.images", str(arguments.images.resolve()),
        "--data.annotations", str(first_photos(arguments)),
        "--methods", "[none, canonical, oracle]",
        *given[end + 1 :],
    ]  # fmt: skip
    for name, version in (("base", arguments.base), ("head", arguments.head)):
        run_version(version, arguments.out / name, options)
    table, changed = compare(arguments.out / "base", arguments.out / "head")
    text = f"samrot {arguments.base} -> {arguments.head}: {table}"
    (arguments.out / "compare_versions.md").write_text(text)
    print(text)
    sys.exit(1 if changed else 0)


if __name__ == "__main__":
    main()
