"""Pose accuracy of canonicalizers on a folder of upright photos, turned four ways.

    python tools/pose_accuracy.py FOLDER [--canonicalizers c4 c4_aspect]

Three columns: the photos turned losslessly; turned and saved again as JPEG, so that the compression
grid of the original gives nothing away; and cut to their centred square, so that the aspect ratio
gives nothing away.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from samrot.canonicalizers import Canonicalizer, load_canonicalizer
from samrot.data.images import list_images, read_image
from samrot.geometry.actions import rotate_image


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The image after JPEG compression."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def centred_square(image: np.ndarray) -> np.ndarray:
    """The centred square; sides of like parity, since half pixels cannot be cut."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def count_correct(canonicalizer: Canonicalizer, turned_images: list[np.ndarray]) -> int:
    """How many of an image's four turns get their own pose."""
    return sum(canonicalizer.pose(image) == k for k, image in enumerate(turned_images))


def main() -> None:
    """Print one row per canonicalizer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--canonicalizers", nargs="+", default=["c4", "c4_aspect"])
    parser.add_argument("--jpeg-quality", type=int, default=75)
    arguments = parser.parse_args()
    views: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
        "turned": lambda image: [rotate_image(image, k) for k in range(4)],
        f"turned, JPEG {arguments.jpeg_quality}": lambda image: [
            as_jpeg(rotate_image(image, k), arguments.jpeg_quality) for k in range(4)
        ],
        "turned, square": lambda image: [rotate_image(centred_square(image), k) for k in range(4)],
    }
    paths = list_images(arguments.folder)
    judges = {name: load_canonicalizer(name) for name in arguments.canonicalizers}
    correct = {(name, view): 0 for name in judges for view in views}
    for path in tqdm(paths, unit="image"):
        image = read_image(path, apply_exif=False)
        for view, turn in views.items():
            turned_images = turn(image)
            for name, judge in judges.items():
                correct[name, view] += count_correct(judge, turned_images)
    print(f"{len(paths)} photos x 4 turns; standard error about {0.4 / len(paths) ** 0.5:.3f}\n")
    print("| canonicalizer | " + " | ".join(views) + " |")
    print("|---" * (1 + len(views)) + "|")
    for name in judges:
        cells = [f"{correct[name, view] / (4 * len(paths)):.4f}" for view in views]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
