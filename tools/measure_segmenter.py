"""How good a segmenter is on upright photos: by box, by one click, and without prompts.

python tools/measure_segmenter.py --images DIR --annotations FILE [--segmenter NAME] \
    [--checkpoint FILE] [--limit N] [--everything 20]

The click is in the middle of the mask: where it is furthest from the edge. Of a click the best of
three masks by predicted IoU counts. Everything-mode runs at the default thresholds; an object is
found by a mask of IoU 0.5 at least.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from tqdm import tqdm

import samrot
from samrot.data.coco import CocoDataset
from samrot.geometry.plane import xywh_to_xyxy
from samrot.structures.prompts import Prompts

FOUND = 0.5  # least IoU


def middle(mask: np.ndarray) -> tuple[float, float]:
    """(x, y), the pixel of a mask, (H, W) bool, that is furthest from its edge."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(x) - 1 + 0.5, float(y) - 1 + 0.5


def ious(found: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """(N, M) of masks, (N, H, W) and (M, H, W) bool."""
    a, b = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (found, truths))
    shared = a @ b.T
    return shared / np.maximum(a.sum(1)[:, None] + b.sum(1) - shared, 1)


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--segmenter", default="sam_mini")
    parser.add_argument("--checkpoint")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--everything", type=int, default=20, help="photos, 0 for none")
    options = parser.parse_args()
    dataset = CocoDataset.load(options.images, options.annotations)
    segmenter = samrot.load_segmenter(options.segmenter, checkpoint=options.checkpoint)
    predictor = samrot.RobustPredictor(segmenter, None)
    image_ids = [i for i in dataset.image_ids if dataset.instances(i)][: options.limit]
    by_box: list[float] = []
    by_click: list[float] = []
    for image_id in tqdm(image_ids, unit="image"):
        predictor.set_image(dataset.read(image_id))
        instances = dataset.instances(image_id)
        truths = np.stack([dataset.mask(instance) for instance in instances])
        boxes = Prompts(xywh_to_xyxy([instance["bbox"] for instance in instances]))
        masks = predictor.best_masks(boxes).masks[:, 0].cpu().numpy()
        by_box += np.diagonal(ious(masks, truths)).tolist()
        clicked = [i for i, truth in enumerate(truths) if truth.any()]
        points = np.array([[middle(truths[i])] for i in clicked])
        clicks = Prompts(point_coords=points, point_labels=np.ones((len(clicked), 1), dtype=int))
        masks = predictor.best_masks(clicks, multimask=True).masks[:, 0].cpu().numpy()
        by_click += np.diagonal(ious(masks, truths[clicked])).tolist()
    print(f"{len(image_ids)} photos, {len(by_box)} objects")
    print(f"box: mIoU {np.mean(by_box):.4f}\none click: mIoU {np.mean(by_click):.4f}")
    if options.everything:
        generator = samrot.RobustMaskGenerator(segmenter, canonicalizer=None)
        found = total = masks_made = 0
        for image_id in tqdm(image_ids[: options.everything], unit="image"):
            records = generator.generate(dataset.read(image_id))
            truths = np.stack([dataset.mask(i) for i in dataset.instances(image_id)])
            total, masks_made = total + len(truths), masks_made + len(records)
            if records:
                made = np.stack([record["segmentation"] for record in records])
                found += int((ious(made, truths).max(axis=0) >= FOUND).sum())
        print(
            f"everything, {len(image_ids[: options.everything])} photos: {found / total:.4f} of "
            f"{total} objects found, {masks_made} masks"
        )


if __name__ == "__main__":
    main()
