"""Everything in a photo, however it is turned: ``SamAutomaticMaskGenerator``, made robust.

python examples/mask_generator.py PHOTO [POINTS_PER_SIDE]
"""

from __future__ import annotations

import sys

import samrot

if len(sys.argv) < 2:
    sys.exit(__doc__)
points_per_side = int(sys.argv[2]) if len(sys.argv) > 2 else 16

segmenter = samrot.load_segmenter("sam_mini")  # its own thresholds are the defaults
generator = samrot.RobustMaskGenerator(segmenter, points_per_side)
for record in generator.generate(samrot.read_image(sys.argv[1])):
    print(f"box {record['bbox']} (XYWH), predicted IoU {record['predicted_iou']:.2f}")
