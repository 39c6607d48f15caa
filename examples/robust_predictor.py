"""Swap ``SamPredictor`` for ``samrot.RobustPredictor``: the photo may now arrive turned.

python examples/robust_predictor.py PHOTO X0 Y0 X1 Y1
"""

from __future__ import annotations

import sys

import numpy as np

import samrot

if len(sys.argv) != 6:
    sys.exit(__doc__)
image = samrot.read_image(sys.argv[1])
box = np.array([float(edge) for edge in sys.argv[2:6]])

# With official weights: samrot.load_segmenter("sam_vit_b", checkpoint="sam_vit_b_01ec64.pth"), or
# samrot.RobustPredictor(sam) with a segment_anything model that you have already.
predictor = samrot.RobustPredictor(samrot.load_segmenter("sam_mini"))
predictor.set_image(image)
masks, scores, _ = predictor.predict(box=box, multimask_output=False)
print(f"the photo is turned by {predictor.pose * 90} degrees counter-clockwise")
print(f"mask of {int(masks[0].sum())} pixels, predicted IoU {scores[0]:.2f}")
