"""What an app without torch does with the files of ``samrot export``.

samrot export --out onnx && python examples/onnx_app.py onnx PHOTO X0 Y0 X1 Y1 MASK.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def turned_point(x: float, y: float, width: int, height: int, k: int) -> tuple[float, float]:
    """A point of a width x height photo after k quarter turns counter-clockwise."""
    for _ in range(k % 4):
        x, y, width, height = y, width - x, height, width
    return x, y


def main() -> None:
    """Segment what is in a box, whichever way the photo is turned."""
    folder, photo, *corners, out = sys.argv[1:]
    x0, y0, x1, y1 = map(float, corners)
    side = json.loads((Path(folder) / "export.json").read_text())["side"]
    canonicalizer, encoder, decoder = (
        onnxruntime.InferenceSession(f"{folder}/{name}.onnx")
        for name in ("canonicalizer", "encoder", "decoder")
    )
    image = np.asarray(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
    height, width = image.shape[:2]

    # 1. The pose, and the photo turned back by it.
    pose = int(canonicalizer.run(None, {"image": image})[0].argmax())
    canonical = np.ascontiguousarray(np.rot90(image, -pose))
    first = turned_point(x0, y0, width, height, -pose)
    second = turned_point(x1, y1, width, height, -pose)
    box = np.array([np.minimum(first, second), np.maximum(first, second)])

    # 2. Segment in the canonical frame.
    size_hw = np.array(canonical.shape[:2])
    resized_hw = np.floor(side / size_hw.max() * size_hw + 0.5).astype(int)
    resized = Image.fromarray(canonical).resize(
        (int(resized_hw[1]), int(resized_hw[0])), Image.Resampling.BILINEAR
    )
    (embeddings,) = encoder.run(None, {"image": np.asarray(resized)})
    low_res = 4 * embeddings.shape[-1]
    masks, predicted_ious, _ = decoder.run(
        None,
        {
            "image_embeddings": embeddings,
            "point_coords": (box * (resized_hw / size_hw)[::-1])[None].astype(np.float32),
            "point_labels": np.array([[2, 3]], dtype=np.float32),
            "mask_input": np.zeros((1, 1, low_res, low_res), dtype=np.float32),
            "has_mask_input": np.zeros(1, dtype=np.float32),
            "orig_im_size": size_hw.astype(np.float32),
        },
    )

    # 3. The mask turned along with the photo again. Masks 1 to 3 are for ambiguous clicks.
    mask = np.rot90(masks[0, 0] > 0, pose)
    Image.fromarray(mask.astype(np.uint8) * 255).save(out)
    print(f"pose {pose * 90} degrees, predicted IoU {predicted_ious[0, 0]:.2f}, mask in {out}")


if __name__ == "__main__":
    main()
