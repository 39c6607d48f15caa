"""Pictures of masks for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from samrot.geometry.plane import PlaneTransform
from samrot.geometry.rle import RLE, decode_mask
from samrot.geometry.rotated_boxes import corners_of
from samrot.structures.prompts import Prompts

GAP = 6  # pixels between panels
CAPTION = 22  # height of the strip of a caption, pixels
CELL = 300  # longest side of a panel, pixels
LEGEND = "white: prompt; circle: click in the object, cross: outside; number: predicted IoU"
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class DrawnObject:
    """One object of a photo, in the frame that is drawn.

    Args:
        rle: compressed RLE of its mask.
        score: predicted IoU; None is not drawn.
        prompt: what pointed at it, B = 1; None is not drawn.
    """

    rle: RLE
    score: float | None = None
    prompt: Prompts | None = None


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB, well apart: the golden angle around the colour wheel."""
    hues = (np.arange(count) * 137.508 / 2 % 180).astype(np.uint8)
    hsv = np.stack([hues, np.full(count, 220, np.uint8), np.full(count, 255, np.uint8)], axis=1)
    if count == 0:
        return np.zeros((0, 3), dtype=np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def draw_objects(image: np.ndarray, objects: Sequence[DrawnObject]) -> np.ndarray:
    """Tint masks, and draw their outlines, prompts and scores.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: what is in it.

    Returns:
        (H, W, 3) uint8 RGB, a new array.
    """
    drawn, colours = image.copy(), palette(len(objects))
    width = _line_width(image)
    # Large masks first, so that small ones stay visible.
    areas = [int(coco_mask.area(item.rle)) for item in objects]
    for index in np.argsort(areas, kind="stable")[::-1]:
        mask, colour = decode_mask(objects[index].rle), colours[index]
        drawn[mask] = (0.5 * drawn[mask] + 0.5 * colour).astype(np.uint8)
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        # A dark line beneath the bright one stands out from any photo.
        for line_colour, line_width in ((_BLACK, width + 2), (colour.tolist(), width)):
            cv2.drawContours(drawn, outlines, -1, line_colour, line_width)
    canvas = Image.fromarray(drawn)
    draw = ImageDraw.Draw(canvas)
    for item in objects:
        _draw_prompt(draw, item.prompt, width)
    for item, colour in zip(objects, colours, strict=True):
        if item.score is not None:
            x, y = coco_mask.toBbox(item.rle)[:2]
            _draw_text(draw, (x, y), f"{item.score:.2f}", tuple(colour), 9 + 2 * width)
    return np.asarray(canvas)


def draw_overlay(
    image: np.ndarray, objects: Sequence[DrawnObject], upright: PlaneTransform
) -> np.ndarray:
    """A photo with its objects, beside it the same upright, if it is not, and below a legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: what is in it.
        upright: from that photo to the upright one.
    """
    views = [draw_objects(image, objects)]
    if not upright.is_identity:
        moved = [DrawnObject(upright.rle(item.rle), item.score) for item in objects]
        views.append(draw_objects(upright.image(image), moved))
    row = side_by_side(views)
    picture = Image.new("RGB", (row.shape[1], row.shape[0] + CAPTION), _WHITE)
    picture.paste(Image.fromarray(row), (0, 0))
    _draw_caption(picture, LEGEND, row.shape[0])
    return np.asarray(picture)


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images, each (H, W, 3) uint8, in a row on white."""
    width = sum(image.shape[1] for image in images) + GAP * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.shape[0] for image in images)), _WHITE)
    left = 0
    for image in images:
        row.paste(Image.fromarray(image), (left, 0))
        left += image.shape[1] + GAP
    return np.asarray(row)


def panel(images: Sequence[np.ndarray], label: str, cell: int = CELL) -> np.ndarray:
    """Images in a row in the middle of a square, with a label above that is not cut.

    Args:
        images: each (H, W, 3) uint8; one scale makes the row fit, whatever their shapes.
        label: what is written above.
        cell: side of the square, pixels.
    """
    room = cell - GAP * (len(images) - 1)
    scale = min(
        room / sum(image.shape[1] for image in images),
        cell / max(image.shape[0] for image in images),
    )
    row = side_by_side([_scaled(image, scale) for image in images])
    square = Image.new("RGB", (cell + GAP, cell + CAPTION + GAP), _WHITE)
    left, top = (max(0, (cell - side) // 2) for side in (row.shape[1], row.shape[0]))
    square.paste(Image.fromarray(row), (left, CAPTION + top))
    _draw_caption(square, label, 0)
    return np.asarray(square)


def in_rows(panels: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Panels of one size, (H, W, 3) uint8, in rows of so many, the last filled up with white."""
    blank = np.full_like(panels[0], 255)
    filled = [*panels, *[blank] * (-len(panels) % columns)]
    rows = [np.concatenate(filled[i : i + columns], 1) for i in range(0, len(filled), columns)]
    return np.concatenate(rows)


def _scaled(image: np.ndarray, scale: float) -> np.ndarray:
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _draw_caption(picture: Image.Image, text: str, top: int) -> None:
    """A line of text as wide as the picture at most, in the strip that begins at ``top``."""
    draw, size = ImageDraw.Draw(picture), 14
    while size > 5 and draw.textlength(text, _font(size)) > picture.width - GAP:
        size -= 1
    draw.text((2, top + CAPTION / 2), text, _BLACK, _font(size), anchor="lm")


def _line_width(image: np.ndarray) -> int:
    return max(1, round(min(image.shape[:2]) / 300))


def _draw_prompt(draw: ImageDraw.ImageDraw, prompt: Prompts | None, width: int) -> None:
    if prompt is None:
        return
    if prompt.boxes_xyxy is not None:
        for colour, line_width in ((_BLACK, width + 2), (_WHITE, width)):
            draw.rectangle(prompt.boxes_xyxy[0].tolist(), outline=colour, width=line_width)
    if prompt.rotated_boxes is not None:
        corners = corners_of(prompt.rotated_boxes[0])
        ring = [tuple(corner) for corner in [*corners.tolist(), corners[0].tolist()]]
        for colour, line_width in ((_BLACK, width + 2), (_WHITE, width)):
            draw.line(ring, colour, line_width, joint="curve")
    if prompt.point_coords is None or prompt.point_labels is None:
        return
    radius = 2 + 2 * width
    for (x, y), label in zip(prompt.point_coords[0], prompt.point_labels[0], strict=True):
        ends = (x - radius, y - radius, x + radius, y + radius)
        if label == 1:
            draw.ellipse(ends, fill=_WHITE, outline=_BLACK, width=width)
            continue
        for colour, line_width in ((_BLACK, width + 2), (_WHITE, width)):
            draw.line(ends, colour, line_width)
            draw.line((ends[0], ends[3], ends[2], ends[1]), colour, line_width)


def _draw_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: tuple[int, ...],
    size: int,
) -> None:
    draw.text(place, text, colour, _font(size), stroke_width=2, stroke_fill=_BLACK)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
