"""Write a trained checkpoint as a bundled one: its weights as they are, their origin in the header.

python tools/bundle_weights.py CHECKPOINT TARGET --data "PHOTOS AND THEIR TERMS" --licence TEXT
    --accuracy '{"what was measured, and on what": 0.9}'

What the checkpoint says of itself (architecture, fingerprints of the photos) is kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from samrot import weights
from samrot.model_card import ModelCard, read_weight_file


def bundle(checkpoint: Path, target: Path, card: ModelCard) -> None:
    """Copy a checkpoint, with what its card says in the header."""
    format_name = read_weight_file(checkpoint).header["format"]
    state, header = weights.load(checkpoint, format_name=format_name)
    kept = {name: value for name, value in header.items() if name != "format"}
    weights.save(target, state, format_name=format_name, header={**kept, **card.to_header()})


def main() -> None:
    """Parse the arguments and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--data", required=True, help="photos, and the terms of their use")
    parser.add_argument("--licence", required=True)
    parser.add_argument(
        "--accuracy", type=json.loads, default={}, help="JSON: what was measured -> value"
    )
    arguments = parser.parse_args()
    card = ModelCard(licence=arguments.licence, data=arguments.data, accuracy=arguments.accuracy)
    bundle(arguments.checkpoint, arguments.target, card)


if __name__ == "__main__":
    main()
