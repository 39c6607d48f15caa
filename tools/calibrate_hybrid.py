"""When ``hybrid`` should ask the segmenter, and how much the canonicalizer's word then counts.

python tools/calibrate_hybrid.py --data IMAGES ANNOTATIONS [--data IMAGES ANNOTATIONS] --list FILE

On upright photos with ground-truth boxes: the canonicalizer's probability of each pose, and the
mean IoU that the segmenter predicts in each. For each threshold and prior weight: the share of
photos whose pose is right, and the encoder passes a photo. Of other turns the same follows.
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

import samrot
from samrot.data.coco import CocoDataset
from samrot.data.photos import select_photos
from samrot.geometry.plane import xywh_to_xyxy
from samrot.structures.prompts import Prompts

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
PRIOR_WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", nargs=2, action="append", required=True, metavar=("IMAGES", "ANNOTATIONS")
    )
    parser.add_argument("--list", required=True, help="text file: ends of the paths to use")
    parser.add_argument("--segmenter", default="sam_mini")
    parser.add_argument("--canonicalizer", default="c4")
    parser.add_argument("--limit", type=int, default=None, help="photos of each dataset")
    options = parser.parse_args()
    canonicalizer = samrot.load_canonicalizer(options.canonicalizer)
    predictor = samrot.RobustPredictor(samrot.load_segmenter(options.segmenter), None)
    shares, sureties = [], []
    for folder, file in options.data:
        dataset = select_photos(CocoDataset.load(folder, file), options.list, None)
        image_ids = [i for i in dataset.image_ids if dataset.instances(i)][: options.limit]
        for image_id in tqdm(image_ids, unit="image"):
            image = dataset.read(image_id)
            boxes_xyxy = xywh_to_xyxy([a["bbox"] for a in dataset.instances(image_id)])
            shares.append(np.asarray(canonicalizer.estimate(image).probabilities))
            of_poses = []
            for element in range(canonicalizer.group.order):
                predictor.set_image(image, pose=element)
                scores = predictor.best_masks(Prompts(boxes_xyxy)).scores
                of_poses.append(float(scores.double().mean()))
            sureties.append(of_poses)
    probabilities, ious = np.array(shares), np.array(sureties)
    alone = (probabilities.argmax(1) == 0).mean()
    print(f"{len(ious)} photos; the canonicalizer alone {alone:.4f}, ", end="")
    print(f"the segmenter alone {(ious.argmax(1) == 0).mean():.4f}\n")
    print("| threshold | prior weight | pose accuracy | encoder passes |")
    print("|---|---|---|---|")
    order = np.argsort(-probabilities, axis=1, kind="stable")
    reached = np.cumsum(np.take_along_axis(probabilities, order, 1), 1)
    for threshold in THRESHOLDS:
        number = 1 + (reached[:, :-1] < threshold).sum(1)
        is_candidate = np.zeros_like(ious, dtype=bool)
        np.put_along_axis(is_candidate, order, np.arange(ious.shape[1]) < number[:, None], 1)
        for weight in PRIOR_WEIGHTS:
            evidence = ious + weight * np.log(np.maximum(probabilities, 1e-30))
            right = np.where(is_candidate, evidence, -np.inf).argmax(1) == 0
            print(f"| {threshold} | {weight} | {right.mean():.4f} | {number.mean():.3f} |")


if __name__ == "__main__":
    main()
