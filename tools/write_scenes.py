"""Write procedural scenes as a COCO dataset.

python tools/write_scenes.py FOLDER --count 600 --seed 77
"""

from __future__ import annotations

import argparse

from samrot.data.coco_writer import write_scenes


def main() -> None:
    """Parse the arguments and write the scenes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="new; gets images/ and annotations.json")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args()
    write_scenes(arguments.folder, arguments.count, arguments.seed)


if __name__ == "__main__":
    main()
