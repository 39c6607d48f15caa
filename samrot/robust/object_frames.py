"""Frames in which rotated boxes are upright: few of them for a photo, shared by like angles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from samrot.errors import InputError
from samrot.geometry.canvas import PHOTO_FILL
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.geometry.rotated_boxes import residue_deg, shared_angles, upright_boxes
from samrot.robust.frames import CanonicalFrame
from samrot.robust.pipeline import CanonicalImage, Pipeline
from samrot.structures.prompts import Prompts
from samrot.structures.segmentation import Segmentation

MOST_FRAMES = 3  # of a photo, besides the one that it has without rotated boxes
DEAD_BAND_DEG = 4.0  # boxes turned by less fit the photo as it is
LIKE_DEG = 12.0  # angles within so many degrees share a frame


class FramedRows(NamedTuple):
    """Prompts that share a frame.

    Args:
        frame: change of frame to the one in which their boxes are upright, or nearly.
        rows: (N,) which of the prompts.
    """

    frame: CanonicalFrame
    rows: np.ndarray


class EncodedRows(NamedTuple):
    """Prompts that share an encoding.

    Args:
        image: the photo, encoded in their frame.
        rows: (N,) which of the prompts.
    """

    image: CanonicalImage
    rows: np.ndarray


def object_frames(frame: CanonicalFrame, rotated_boxes: np.ndarray) -> list[FramedRows]:
    """The frames of some rotated boxes: at most ``MOST_FRAMES`` besides that of the photo.

    Boxes at quarter turns, and those turned by less than the dead band, keep the photo's own frame.
    The others are binned by their angle, up to quarter turns; a box that is alone in its bin, or
    with those of the same angle, is upright exactly.

    Args:
        frame: how the photo lies without them.
        rotated_boxes: (N, 5), in the user's frame.
    """
    exact = frame.exact_rotated(rotated_boxes)
    own_tilt_deg = -frame.transform.tilt_deg
    off_deg = residue_deg(exact[:, 4] - own_tilt_deg)
    keeps = (np.abs(off_deg) <= DEAD_BAND_DEG) | (residue_deg(rotated_boxes[:, 4]) == 0)
    frames = [FramedRows(frame, np.flatnonzero(keeps))] if keeps.any() else []
    others = np.flatnonzero(~keeps)
    if len(others) == 0:
        return frames
    # Up to quarter turns an angle may be undone in four ways: the one that leaves the photo nearest
    # to its own up, as far as its pose says.
    up_deg = frame.pose.tilt_deg
    angles, bins = shared_angles(exact[others, 4] - up_deg, MOST_FRAMES, LIKE_DEG)
    for number, angle_deg in enumerate(angles.tolist()):
        rows = others[bins == number]
        frames.append(FramedRows(_tilted(frame, up_deg + angle_deg, exact[rows]), rows))
    return frames


def encode_objects(
    pipeline: Pipeline,
    photo: np.ndarray | None,
    image: CanonicalImage,
    rotated_boxes: np.ndarray | None,
    known: Mapping[PlaneTransform, CanonicalImage],
) -> list[EncodedRows]:
    """Encode a photo in the frames of its rotated boxes.

    Args:
        pipeline: what encodes.
        photo: (H, W, 3) uint8 RGB, in the user's frame; None where it is not kept.
        image: the photo, encoded in its own frame.
        rotated_boxes: (N, 5), in the user's frame; None where prompts are of other kinds, which all
            keep the photo's own.
        known: what was encoded of this photo before, by its change of frame.

    Raises:
        InputError: if a box asks for the photo, and it was not kept.
    """
    if rotated_boxes is None or len(rotated_boxes) == 0:
        return [EncodedRows(image, np.arange(0))]
    at_hand = {image.frame.transform: image, **known}
    parts = []
    for frame, rows in object_frames(image.frame, rotated_boxes):
        if frame.transform not in at_hand:
            if photo is None:
                raise InputError(
                    "a rotated box asks for the photo in another frame, but set_torch_image keeps "
                    "none; use set_image"
                )
            # One at a time: together they would differ by rounding from what is encoded alone.
            at_hand[frame.transform] = pipeline.encode([photo], [frame])[0]
        parts.append(EncodedRows(at_hand[frame.transform], rows))
    return parts


def decode_each(
    parts: Sequence[EncodedRows],
    prompts: Prompts,
    decode: Callable[[CanonicalImage, Prompts], Segmentation],
) -> Segmentation:
    """Segment each part of some prompts in its frame; the result has the order of the prompts.

    Args:
        parts: what ``encode_objects`` made; one is of all prompts.
        prompts: B of them, in the user's frame.
        decode: segments some prompts in the frame of an image.
    """
    if len(parts) == 1:
        return decode(parts[0].image, prompts)
    whole: Segmentation | None = None
    for image, rows in parts:
        found = decode(image, prompts[rows])
        if whole is None:
            shapes = (found.masks, found.scores, found.low_res_logits)
            whole = Segmentation(*(p.new_empty((len(prompts), *p.shape[1:])) for p in shapes))
        whole.masks[rows] = found.masks
        whole.scores[rows] = found.scores
        whole.low_res_logits[rows] = found.low_res_logits
    assert whole is not None
    return whole


def _tilted(frame: CanonicalFrame, tilt_deg: float, exact_boxes: np.ndarray) -> CanonicalFrame:
    """A photo's frame with another tilt undone, which shows all of some boxes.

    The canvas has the size of the photo, so that nothing is shown smaller, or more where a box
    would not be all on it.
    """
    size_hw = frame.transform.source_hw
    pose = Pose(frame.pose.element, tilt_deg)
    transform = PlaneTransform.to_canonical(pose, size_hw, "same")
    _, rest = transform.split()
    boxes = upright_boxes(rest.rotated_boxes(exact_boxes), "hull")
    height, width = transform.target_hw
    if boxes[:, :2].min() < 0 or (boxes[:, 2:] > (width, height)).any():
        transform = PlaneTransform.to_canonical(pose, size_hw, "expand")
    return replace(frame, transform=transform, fill=PHOTO_FILL)
