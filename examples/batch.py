"""Boxes in many photos, encoded a few at a time, with a progress bar.

python examples/batch.py X0 Y0 X1 Y1 PHOTO [PHOTO ...]
"""

from __future__ import annotations

import sys

from tqdm import tqdm

import samrot

if len(sys.argv) < 6:
    sys.exit(__doc__)
box = [float(edge) for edge in sys.argv[1:5]]
images = [samrot.read_image(path) for path in sys.argv[5:]]

predictor = samrot.RobustPredictor(samrot.load_segmenter("sam_mini"))
with tqdm(total=len(images), unit="image") as bar:
    found = predictor.predict_batch(
        images,
        [[box]] * len(images),
        images_per_batch=4,
        progress=lambda done, _: bar.update(done - bar.n),
    )
for path, (masks, scores, _) in zip(sys.argv[5:], found, strict=True):
    print(f"{path}: mask of {int(masks[0, 0].sum())} pixels, predicted IoU {scores[0, 0]:.2f}")
