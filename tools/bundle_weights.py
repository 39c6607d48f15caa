"""Write a trained checkpoint as a bundled one: its weights as they are, their origin in the header.

python tools/bundle_weights.py CHECKPOINT TARGET --data "PHOTOS AND THEIR TERMS" --licence TEXT

What the checkpoint says of itself (architecture, fingerprints of the photos) is kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors import safe_open

from samrot import weights


def bundle(checkpoint: Path, target: Path, *, data: str, licence: str) -> None:
    """Copy a checkpoint, with the origin of its photos and its licence in the header."""
    with safe_open(checkpoint, framework="pt") as file:
        format_name = json.loads(file.metadata()["samrot"])["format"]
    state, header = weights.load(checkpoint, format_name=format_name)
    kept = {name: value for name, value in header.items() if name != "format"}
    about = {"data": data, "licence": licence}
    weights.save(target, state, format_name=format_name, header={**kept, **about})


def main() -> None:
    """Parse the arguments and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", required=True, help="photos, and the terms of their use")
    parser.add_argument("--licence", required=True)
    arguments = parser.parse_args()
    bundle(arguments.checkpoint, arguments.target, data=arguments.data, licence=arguments.licence)


if __name__ == "__main__":
    main()
