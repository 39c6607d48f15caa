"""One change of frame between two images, and what it does to all that lies on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from samrot.errors import InputError, check_choice
from samrot.geometry import exact
from samrot.geometry.canvas import PHOTO_FILL, canvas_size, centre_of
from samrot.geometry.groups import D4, rotation_matrix
from samrot.geometry.pose import Pose
from samrot.geometry.rle import RLE, decode_mask, encode_mask
from samrot.geometry.rotated_boxes import BOX_RULES, enclosing_half

LOGIT_FILL = -32.0  # of mask logits outside of the photo: never masked
TIE = 1e-9  # pixels: a point between two pixels belongs to the later one, whatever the rounding
GRID = 64  # snapped coordinates are multiples of 1/64 px


@dataclass(frozen=True)
class PlaneTransform:
    """A symmetry of the square, a tilt about the centre, and another symmetry, in that order.

    The symmetries flip and turn pixels exactly. The tilt is one resampling of the middle of the
    source into the middle of the target, and absent where it is 0. What lies outside of the source
    is filled, and never masked.

    Args:
        source_hw: (height, width) of the image that it is applied to.
        target_hw: (height, width) of the image that it makes.
        before: element of D4 that acts first.
        tilt_deg: counter-clockwise as displayed, degrees.
        after: element of D4 that acts last.
    """

    source_hw: tuple[int, int]
    target_hw: tuple[int, int]
    before: int = 0
    tilt_deg: float = 0.0
    after: int = 0

    @classmethod
    def from_pose(
        cls, pose: Pose, size_hw: tuple[int, int], canvas: str = "same"
    ) -> PlaneTransform:
        """From the canonical photo to the photo: tilted, then moved by the element.

        Args:
            pose: how the photo is turned.
            size_hw: (height, width) of the canonical photo.
            canvas: ``same`` keeps the size, ``expand`` makes room for all of the tilted photo.
        """
        middle_hw = canvas_size(size_hw, pose.tilt_deg, canvas)
        target_hw = exact.move_size(middle_hw, pose.element)
        return cls(size_hw, target_hw, 0, pose.tilt_deg, pose.element)._simplified()

    @classmethod
    def to_canonical(
        cls,
        pose: Pose,
        size_hw: tuple[int, int],
        canvas: str = "same",
        outline_xy: np.ndarray | None = None,
    ) -> PlaneTransform:
        """From a photo to the canonical one: the element is undone exactly, then the tilt.

        Args:
            pose: how the photo is turned.
            size_hw: (height, width) of the photo.
            canvas: ``same`` keeps the size, ``expand`` makes room for all of the untilted photo.
            outline_xy: (K, 2) points, pixels, which all of the photo lies between; those of
                ``photo_outline``, or by default the corners.
        """
        undo = D4.inverse(pose.element)
        if outline_xy is not None:
            outline_xy = exact.move_points(outline_xy, undo, size_hw)
        target_hw = canvas_size(exact.move_size(size_hw, undo), -pose.tilt_deg, canvas, outline_xy)
        return cls(size_hw, target_hw, undo, -pose.tilt_deg, 0)._simplified()

    @property
    def is_exact(self) -> bool:
        """Whether nothing is resampled, cut off or filled."""
        return self.tilt_deg == 0 and self._warp_source_hw == self._warp_target_hw

    @property
    def is_identity(self) -> bool:
        """Whether everything stays as it is."""
        return self.is_exact and self.before == 0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2) float64: what it does to (x, y) about the centres of source and target."""
        first, last = D4.matrix(self.before), D4.matrix(self.after)
        return last @ rotation_matrix(self.tilt_deg) @ first

    def inverse(self) -> PlaneTransform:
        """The change of frame back."""
        first, last = D4.inverse(self.after), D4.inverse(self.before)
        inverse = PlaneTransform(self.target_hw, self.source_hw, first, -self.tilt_deg, last)
        return inverse._simplified()

    def then(self, other: PlaneTransform) -> PlaneTransform:
        """This one and the other after it, as one: two tilts become one resampling.

        Raises:
            InputError: if the other is for images of another size.
        """
        if other.source_hw != self.target_hw:
            raise InputError(
                f"the second transform is for images of {other.source_hw}, but the first makes "
                f"{self.target_hw}; build it for that size"
            )
        middle = D4.compose(other.before, self.after)
        sizes = (self.source_hw, other.target_hw)
        if self.tilt_deg == 0:
            before = D4.compose(middle, self.before)
            return PlaneTransform(*sizes, before, other.tilt_deg, other.after)._simplified()
        if other.tilt_deg == 0:
            after = D4.compose(other.after, middle)
            return PlaneTransform(*sizes, self.before, self.tilt_deg, after)._simplified()
        sense = -1 if D4.mirrors(middle) else 1  # a mirror between reverses the first tilt
        tilt_deg = other.tilt_deg + sense * self.tilt_deg
        before = D4.compose(middle, self.before)
        return PlaneTransform(*sizes, before, tilt_deg, other.after)._simplified()

    def split(self) -> tuple[PlaneTransform, PlaneTransform]:
        """The exact part that acts first, and all that follows."""
        middle_hw = self._warp_source_hw
        first = PlaneTransform(self.source_hw, middle_hw, self.before)
        return first, replace(self, source_hw=middle_hw, before=0)

    def image(self, image: np.ndarray, fill: tuple[float, ...] | None = PHOTO_FILL) -> np.ndarray:
        """An image, bilinear where it is resampled.

        Args:
            image: (H, W, C), any dtype.
            fill: (C,) of what lies outside; None repeats the edge of the image.

        Returns:
            (H', W', C) of the same dtype, contiguous; it may be ``image`` itself.
        """
        self._check(image.shape[:2], "image")
        if self.is_exact:
            return exact.move_image(image, self.before)
        floating = image.dtype if image.dtype.kind == "f" else np.float64
        planes = np.ascontiguousarray(exact.move_image(image, self.before).transpose(2, 0, 1))
        warped = self._warp(torch.from_numpy(planes.astype(floating)), fill).numpy()
        if image.dtype.kind != "f":
            warped = np.rint(warped)
        pixels = np.ascontiguousarray(warped.transpose(1, 2, 0).astype(image.dtype))
        return exact.move_image(pixels, self.after)

    def logits(self, logits: Tensor, fill: float | None = LOGIT_FILL) -> Tensor:
        """Mask logits or images in network layout, (..., H, W) float; gradients pass through.

        Args:
            logits: what is moved.
            fill: value of what lies outside; None repeats the edge.
        """
        self._check(logits.shape[-2:], "logits")
        moved = exact.move_tensor(logits, self.before)
        if self.is_exact:
            return moved
        planes = moved.reshape(-1, *moved.shape[-2:])
        filled = None if fill is None else (fill,)
        warped = self._warp(planes, filled) if len(planes) else planes.new_empty(0, 1, 1)
        warped = warped.reshape(*moved.shape[:-2], *self._warp_target_hw)
        return exact.move_tensor(warped, self.after)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """Binary masks, (..., H, W), by nearest neighbour where they are resampled."""
        self._check(masks.shape[-2:], "masks")
        moved = exact.move_masks(masks, self.before)
        if self.is_exact:
            return moved
        pixels, outside = _nearest_pixels(self._warp_source_hw, self._warp_target_hw, self.tilt_deg)
        warped = np.take(moved.reshape(*moved.shape[:-2], -1), pixels, axis=-1)
        warped[..., outside] = 0
        return exact.move_masks(warped, self.after)

    def rle(self, rle: RLE) -> RLE:
        """A compressed COCO RLE; the type of ``counts`` (bytes or str) is kept."""
        moved = encode_mask(self.masks(decode_mask(rle)))
        if isinstance(rle["counts"], bytes):
            moved["counts"] = str(moved["counts"]).encode("ascii")
        return moved

    def points(self, points_xy: np.ndarray) -> np.ndarray:
        """Points, (..., 2) as (x, y), pixels, continuous coordinates; float64, a new array."""
        points = exact.move_points(points_xy, self.before, self.source_hw)
        if self.is_exact:
            return points
        warped = (points - centre_of(self._warp_source_hw)) @ rotation_matrix(self.tilt_deg).T
        warped = warped + centre_of(self._warp_target_hw)
        return exact.move_points(warped, self.after, self._warp_target_hw)

    def boxes(self, boxes_xyxy: np.ndarray, how: str = "ellipse") -> np.ndarray:
        """Boxes, (..., 4), pixels, continuous edges; float64, a new array.

        Args:
            boxes_xyxy: x0 <= x1, y0 <= y1.
            how: what of a tilted box the new one holds: ``ellipse``, the ellipse inscribed in it,
                which fits most objects closely; or ``hull``, all of it.
        """
        check_choice("boxes how", how, BOX_RULES)
        boxes = exact.move_boxes(boxes_xyxy, self.before, self.source_hw)
        if self.is_exact:
            return boxes
        first, second = boxes[..., :2], boxes[..., 2:]
        half = enclosing_half((second - first) / 2, self.tilt_deg, how)
        middle = replace(self, before=0, after=0, source_hw=self._warp_source_hw,
                         target_hw=self._warp_target_hw).points((first + second) / 2)  # fmt: skip
        warped = np.concatenate([middle - half, middle + half], axis=-1)
        return exact.move_boxes(warped, self.after, self._warp_target_hw)

    def rotated_boxes(self, rotated_boxes: np.ndarray) -> np.ndarray:
        """Rotated boxes, (..., 5) as of ``geometry.rotated_boxes``; float64, a new array.

        They stay as wide and high as they are, and fit as closely, whatever the tilt.
        """
        moved = np.array(rotated_boxes, dtype=np.float64)
        moved[..., :2] = self.points(moved[..., :2])
        for element, tilt_deg in ((self.before, self.tilt_deg), (self.after, 0.0)):
            sense = -1 if D4.mirrors(element) else 1
            moved[..., 4] = sense * moved[..., 4] + D4.angle_deg(element) + tilt_deg
        # In (-180, 180], as far as a float has it.
        moved[..., 4] -= 360 * np.ceil(moved[..., 4] / 360 - 0.5)
        return moved

    @property
    def _warp_source_hw(self) -> tuple[int, int]:
        return exact.move_size(self.source_hw, self.before)

    @property
    def _warp_target_hw(self) -> tuple[int, int]:
        return exact.move_size(self.target_hw, self.after)

    def _simplified(self) -> PlaneTransform:
        """Without a tilt, one element says it all."""
        if self.tilt_deg != 0:
            return self
        before = D4.compose(self.after, self.before)
        return PlaneTransform(self.source_hw, self.target_hw, before)

    def _warp(self, planes: Tensor, fill: tuple[float, ...] | None) -> Tensor:
        """(C, H, W) float to (C, H', W'): bilinear, the edge repeated, or filled outside of it."""
        height, width = self._warp_source_hw
        points = _source_points(self._warp_source_hw, self._warp_target_hw, self.tilt_deg)
        # grid_sample takes -1..1 from edge to edge.
        grid = torch.from_numpy(points / (width, height) * 2 - 1).to(planes)
        warped = F.grid_sample(
            planes[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0]
        if fill is None:
            return warped
        inside = torch.from_numpy(_is_inside(points, self._warp_source_hw)).to(planes.device)
        return torch.where(inside, warped, planes.new_tensor(fill)[:, None, None])

    def _check(self, size_hw: tuple[int, ...], name: str) -> None:
        if tuple(size_hw) != self.source_hw:
            raise InputError(
                f"{name} is {tuple(size_hw)} (height, width); the transform is for {self.source_hw}"
            )


def _source_points(
    source_hw: tuple[int, int], target_hw: tuple[int, int], tilt_deg: float
) -> np.ndarray:
    """(H', W', 2) float64: where in the source of a warp each pixel centre comes from."""
    height, width = target_hw
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    offsets = np.stack([x, y], axis=-1) - centre_of(target_hw)
    turned: np.ndarray = offsets @ rotation_matrix(-tilt_deg).T
    return turned + centre_of(source_hw)


def _is_inside(points_xy: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Whether points, (..., 2), lie on an image of that (height, width)."""
    x, y = points_xy[..., 0], points_xy[..., 1]
    height, width = size_hw
    return (x >= -TIE) & (x <= width + TIE) & (y >= -TIE) & (y <= height + TIE)


@lru_cache(maxsize=1)  # the masks of a photo are moved one after the other, by one transform
def _nearest_pixels(
    source_hw: tuple[int, int], target_hw: tuple[int, int], tilt_deg: float
) -> tuple[np.ndarray, np.ndarray]:
    """(H', W') each: index of the nearest pixel of the flattened source; where there is none."""
    points = _source_points(source_hw, target_hw, tilt_deg)
    at = np.floor(points + TIE).astype(np.int64)
    height, width = source_hw
    x, y = np.clip(at[..., 0], 0, width - 1), np.clip(at[..., 1], 0, height - 1)
    return y * width + x, ~_is_inside(points, source_hw)


def snap_to_grid(coordinates: np.ndarray) -> np.ndarray:
    """Coordinates rounded to 1/64 px, float64.

    W - (W - x) is not x in floating point, and a box that differs in its last bit can flip a mask
    pixel; on the grid, all turns of a prompt arrive at the same numbers.
    """
    return np.round(np.asarray(coordinates, dtype=np.float64) * GRID) / GRID


def xywh_to_xyxy(boxes_xywh: object) -> np.ndarray:
    """COCO boxes, (N, 4) as corner and size, to their two corners, float64."""
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
