"""Pose accuracy of bursts against their number of photos: the evidence of a folder is summed.

python tools/measure_bursts.py --images DIR [--canonicalizer c4] [--limit 100] \
    [--crop 0.5 0.9] [--stops 1.5] [--numbers 1 2 4 8] [--seed 0]

A burst is made of one upright photo: crops of it, each with sides of that share of the photo's, at
random places, and exposed by up to that many stops more or less. All bursts of a number that the
photos of the largest one can be split into are asked. The law makes their turn of no account: poses
of turned bursts are wrong where those of upright ones are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from tqdm import tqdm

import samrot
from samrot.data.images import list_images


def burst_of(
    photo: np.ndarray, number: int, crop: tuple[float, float], stops: float,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Crops and exposures, each (h, w, 3) uint8 RGB, of a photo, (H, W, 3) uint8 RGB."""
    height, width = photo.shape[:2]
    for _ in range(number):
        share = rng.uniform(*crop)
        h, w = max(1, round(share * height)), max(1, round(share * width))
        y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
        linear = (photo[y : y + h, x : x + w] / 255.0) ** 2.2 * 2.0 ** rng.uniform(-stops, stops)
        yield np.rint(np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", required=True)
    parser.add_argument("--canonicalizer", default="c4")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--crop", type=float, nargs=2, default=(0.5, 0.9))
    parser.add_argument("--stops", type=float, default=1.5)
    parser.add_argument("--numbers", type=int, nargs="+", default=(1, 2, 4, 8))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    canonicalizer = samrot.load_canonicalizer(options.canonicalizer)
    rng = np.random.default_rng(options.seed)
    most = max(options.numbers)
    is_right: dict[int, list[bool]] = {number: [] for number in options.numbers}
    confidence: dict[int, list[float]] = {number: [] for number in options.numbers}
    for path in tqdm(list_images(options.images)[: options.limit], unit="photo"):
        photo = samrot.read_image(path)
        frames = burst_of(photo, most, tuple(options.crop), options.stops, rng)
        logits = torch.stack([canonicalizer.logits(frame) for frame in frames])
        for number in options.numbers:
            for some in logits[: most // number * number].split(number):
                pose = canonicalizer.likeliest(canonicalizer.summed_evidence(some))
                is_right[number].append(pose.element == 0)
                confidence[number].append(pose.confidence)
    print("| photos | bursts | pose accuracy | mean probability |")
    print("|---|---|---|---|")
    for number in options.numbers:
        right, sure = np.mean(is_right[number]), np.mean(confidence[number])
        print(f"| {number} | {len(is_right[number])} | {right:.4f} | {sure:.4f} |")


if __name__ == "__main__":
    main()
