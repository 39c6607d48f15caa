"""Prompts as users give them, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from samrot.errors import InputError
from samrot.structures.image import check_image
from samrot.structures.prompts import Prompts, check_prompts, checked_array


def batch_prompts(
    images: Iterable[np.ndarray],
    boxes: Sequence[ArrayLike] | None,
    point_coords: Sequence[ArrayLike] | None,
    point_labels: Sequence[ArrayLike] | None,
) -> tuple[list[np.ndarray], list[Prompts]]:
    """Images, and the prompts of each: see ``RobustPredictor.predict_batch``.

    Raises:
        InputError: if one of them is off, or there is not one of each for every image.
    """
    given = {"boxes": boxes, "point_coords": point_coords, "point_labels": point_labels}
    try:
        images = list(images)
        listed = {name: list(values) for name, values in given.items() if values is not None}
    except TypeError as error:
        raise InputError(f"images or boxes is no list ({error}); expected one of each") from error
    if not listed.keys() - {"point_labels"}:
        raise InputError("neither boxes nor point_coords are given; expected those of each image")
    for name, values in listed.items():
        if len(values) != len(images):
            raise InputError(
                f"images are {len(images)} and {name} {len(values)}; expected {name} for each "
                "image, an empty array where there are none"
            )
    prompts = []
    for n, image in enumerate(images):
        check_image(image)
        of_image = {name: values[n] for name, values in listed.items()}
        boxes_xyxy = None
        if "boxes" in of_image:
            empty = isinstance(of_image["boxes"], list) and not of_image["boxes"]
            none = np.zeros((0, 4))
            boxes_xyxy = checked_array("boxes", none if empty else of_image["boxes"], (-1, 4))
        points, labels = checked_points(
            of_image.get("point_coords"), of_image.get("point_labels"), (-1, -1, 2)
        )
        prompts.append(Prompts(boxes_xyxy, points, labels))
        check_prompts(prompts[-1], (image.shape[0], image.shape[1]))
    return images, prompts


def checked_points(
    coords: object, labels: object, shape: tuple[int, ...]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Point prompts as float64 coordinates and their labels, which are given together."""
    if coords is None and labels is None:
        return None, None
    if coords is None:
        raise InputError("point_labels is given without point_coords; give both or neither")
    points = checked_array("point_coords", coords, shape)
    if labels is None:
        raise InputError("point_labels is missing; expected one label per point")
    return points, checked_array("point_labels", labels, points.shape[:-1])
