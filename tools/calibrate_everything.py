"""Which thresholds everything-mode should have by default, for one segmenter.

python tools/calibrate_everything.py --images DIR --annotations FILE --list FILE

Clicks on a grid are decoded on annotated photos. For each pair of thresholds: the share of objects
that a kept mask finds (IoU of at least 0.5), of kept masks that find one, and the harmonic
mean of the two; the best pair by that is printed last.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from segment_anything.utils.amg import build_point_grid, calculate_stability_score

import samrot
from samrot.data.coco import CocoDataset
from samrot.data.photos import select_photos

CLICKS_PER_BATCH = 32
FOUND = 0.5  # least IoU


def candidates(
    predictor: samrot.RobustPredictor, dataset: CocoDataset, image_id: int, points_per_side: int
) -> np.ndarray:
    """(N, 4): predicted IoU, stability, IoU with the nearest object, and which that is."""
    image = dataset.read(image_id)
    height, width = image.shape[:2]
    predictor.set_image(image)
    truths = np.stack([dataset.mask(a).ravel() for a in dataset.instances(image_id)])
    truth = torch.from_numpy(truths).float()
    clicks = build_point_grid(points_per_side) * np.array([width, height])
    rows = []
    for start in range(0, len(clicks), CLICKS_PER_BATCH):
        coords = predictor.transform.apply_coords(
            clicks[start : start + CLICKS_PER_BATCH], (height, width)
        )
        points = torch.from_numpy(coords).float()[:, None]
        logits, scores, _ = predictor.predict_torch(
            points, torch.ones(len(points), 1), return_logits=True
        )
        logits = logits.flatten(0, 1)
        masks = (logits > 0).flatten(1).float()
        shared = masks @ truth.T
        ious = shared / (masks.sum(1)[:, None] + truth.sum(1) - shared).clamp(min=1)
        nearest, which = ious.max(dim=1)
        stability = calculate_stability_score(logits, 0.0, 1.0)
        rows.append(torch.stack([scores.flatten(), stability, nearest, which.float()], dim=1))
    return torch.cat(rows).numpy()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--list", required=True, help="text file: ends of the paths to use")
    parser.add_argument("--segmenter", default="sam_mini")
    parser.add_argument("--points_per_side", type=int, default=16)
    parser.add_argument("--limit", type=int, default=24)
    options = parser.parse_args()
    dataset = CocoDataset.load(options.images, options.annotations)
    dataset = select_photos(dataset, options.list, None)
    image_ids = [i for i in dataset.image_ids if dataset.instances(i)][: options.limit]
    predictor = samrot.RobustPredictor(samrot.load_segmenter(options.segmenter), None)
    photos = [candidates(predictor, dataset, i, options.points_per_side) for i in image_ids]
    num_objects = sum(len(dataset.instances(i)) for i in image_ids)
    best = (0.0, 0.0, 0.0)
    print("| pred_iou_thresh | stability_score_thresh | found | true | harmonic mean |")
    print("|---|---|---|---|---|")
    for pred_iou in np.arange(0.2, 0.95, 0.05):
        for stability in np.arange(0.5, 1, 0.05):
            kept = [p[(p[:, 0] > pred_iou) & (p[:, 1] >= stability)] for p in photos]
            hits = [p[p[:, 2] >= FOUND] for p in kept]
            found = sum(len(np.unique(p[:, 3])) for p in hits) / num_objects
            true = sum(map(len, hits)) / max(1, sum(map(len, kept)))
            mean = 2 * found * true / max(1e-9, found + true)
            best = max(best, (mean, pred_iou, stability))
            print(f"| {pred_iou:.2f} | {stability:.2f} | {found:.3f} | {true:.3f} | {mean:.3f} |")
    print(f"\n{len(image_ids)} photos; best: {best[1]:.2f}, {best[2]:.2f}")


if __name__ == "__main__":
    main()
