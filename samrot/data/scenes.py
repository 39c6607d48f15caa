"""Procedural upright scenes with exact masks: endless training data, and the demo's dataset.

A scene is sky, ground and objects that stand on it, nearer ones larger, lower and in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from samrot.data.scene_objects import CATEGORIES, Part, Random, pick_colour

MIN_VISIBLE_AREA = 80  # pixels; smaller remains of an object are not annotated
MIN_VISIBLE_SHARE = 0.25


@dataclass(frozen=True)
class Scene:
    """An upright image and its instances.

    Args:
        image: (H, W, 3) uint8 RGB.
        masks: (N, H, W) bool, the visible pixels of each instance; they do not overlap.
        category_ids: (N,) int, 1-based places in ``CATEGORIES``.
    """

    image: np.ndarray
    masks: np.ndarray
    category_ids: np.ndarray


def draw_scene(random: Random, size_hw: tuple[int, int] | None = None) -> Scene:
    """Draw one scene; the same generator state gives the same scene.

    Args:
        random: source of everything random.
        size_hw: (height, width), or None for a random photo-like size up to 512.
    """
    if size_hw is None:
        longest, ratio = int(random.integers(352, 513)), random.uniform(0.62, 1.0)
        shortest = round(longest * ratio)
        size_hw = (shortest, longest) if random.random() < 0.7 else (longest, shortest)
    height, width = size_hw
    horizon = random.uniform(0.3, 0.65) * height
    image = _backdrop(random, size_hw, horizon)
    owner = np.zeros(size_hw, dtype=np.int32)
    weights = np.array([category.weight for category in CATEGORIES])
    count = int(random.integers(5, 15))
    chosen = random.choice(len(CATEGORIES), count, p=weights / weights.sum())
    # Squared: most objects are far away, and so small, as in photographs.
    nearness = np.sort(random.uniform(0.0, 1.0, count) ** 2)
    full_areas = [0]
    for index, near in zip(chosen, nearness, strict=True):
        category = CATEGORIES[index]
        base_y = horizon + (0.04 + 0.96 * near) * (height - horizon)
        unit = (0.06 + 0.4 * near) * height * random.uniform(0.8, 1.25)
        tall = float(np.clip(unit * random.uniform(*category.height), 6.0, 0.8 * height))
        wide = max(4.0, tall * random.uniform(*category.aspect))
        base_x = random.uniform(-0.05, 1.05) * width
        _shadow(image, base_x, base_y, wide)
        painted = _paint(random, image, category.draw(random), base_x, base_y, wide, tall)
        owner[painted] = len(full_areas)
        full_areas.append(int(painted.sum()))
    image = _develop(random, image)
    visible = np.bincount(owner.ravel(), minlength=len(full_areas))
    kept = [
        i
        for i in range(1, len(full_areas))
        if visible[i] >= max(MIN_VISIBLE_AREA, MIN_VISIBLE_SHARE * full_areas[i])
    ]
    masks = np.stack([owner == i for i in kept]) if kept else np.zeros((0, *size_hw), dtype=bool)
    return Scene(image, masks, np.array([chosen[i - 1] + 1 for i in kept], dtype=np.int64))


def _noise(random: Random, size_hw: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise, (H, W) in about -1..1, with features of ``cell`` pixels."""
    height, width = size_hw
    coarse = random.normal(0, 1, (max(2, int(height / cell)), max(2, int(width / cell))))
    return cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def _backdrop(random: Random, size_hw: tuple[int, int], horizon: float) -> np.ndarray:
    height, width = size_hw
    high = pick_colour(random, (70, 120, 200), (120, 150, 190), (60, 70, 110), (200, 140, 110))
    low = np.clip(high * 0.4 + 140 + random.normal(0, 12, 3), 0, 255)
    far = pick_colour(random, (120, 150, 90), (150, 145, 130), (190, 175, 140), (110, 110, 115))
    near = np.clip(far * random.uniform(0.55, 0.95), 0, 255)
    y = np.arange(height)[:, None, None]
    sky = high + (low - high) * np.clip(y / horizon, 0, 1)
    ground = far + (near - far) * np.clip((y - horizon) / max(1.0, height - horizon), 0, 1)
    image = np.broadcast_to(np.where(y < horizon, sky, ground), (height, width, 3)).astype(
        np.float32
    )
    clouds = np.clip(_noise(random, size_hw, 60) + 0.5 * _noise(random, size_hw, 25), 0, 2)[
        ..., None
    ]
    rough = sum(_noise(random, size_hw, cell) for cell in (3, 9, 40))[..., None]  # type: ignore[index]
    skyward = (y < horizon).astype(np.float32)
    cloudy, gritty = random.uniform(0, 45), random.uniform(4, 14)
    image = image + skyward * clouds * cloudy + (1 - skyward) * rough * gritty
    image = np.ascontiguousarray(image, dtype=np.float32)
    if random.random() < 0.5:  # a road towards the horizon
        centre, spread = random.uniform(0.2, 0.8) * width, random.uniform(0.2, 0.6) * width
        road = np.array([(centre - 4, horizon), (centre + 4, horizon),
                         (centre + spread, height), (centre - spread, height)])  # fmt: skip
        cv2.fillPoly(image, [road.astype(np.int32)], random.uniform(70, 130, 3).tolist())
    return image


def _shadow(image: np.ndarray, base_x: float, base_y: float, wide: float) -> None:
    radius_x, radius_y = max(1, int(wide * 0.55)), max(1, int(wide * 0.08))
    y0, y1 = max(0, int(base_y) - radius_y), min(image.shape[0], int(base_y) + radius_y + 1)
    x0, x1 = max(0, int(base_x) - radius_x), min(image.shape[1], int(base_x) + radius_x + 1)
    if y0 >= y1 or x0 >= x1:
        return
    y, x = np.mgrid[y0:y1, x0:x1]
    inside = ((x - base_x) / radius_x) ** 2 + ((y - base_y) / radius_y) ** 2 < 1
    image[y0:y1, x0:x1][inside] *= 0.6


def _paint(
    random: Random,
    image: np.ndarray,
    parts: list[Part],
    base_x: float,
    base_y: float,
    wide: float,
    tall: float,
) -> np.ndarray:
    """Paint an object; returns its pixels, (H, W) bool."""
    height, width = image.shape[:2]
    painted = np.zeros((height, width), dtype=np.uint8)
    mirror = -1.0 if random.random() < 0.5 else 1.0
    tilt = np.deg2rad(random.normal(0, 3))
    light = random.uniform(0.85, 1.1)
    for part in parts:
        x, y = part.outline[:, 0] * wide * mirror, -part.outline[:, 1] * tall
        px = base_x + x * np.cos(tilt) - y * np.sin(tilt)
        py = base_y + x * np.sin(tilt) + y * np.cos(tilt)
        x0, x1 = max(0, int(px.min()) - 1), min(width, int(px.max()) + 2)
        y0, y1 = max(0, int(py.min()) - 1), min(height, int(py.max()) + 2)
        if x0 >= x1 or y0 >= y1:
            continue
        stencil = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
        outline = np.rint(np.stack([px - x0, py - y0], axis=1)).astype(np.int32)
        cv2.fillPoly(stencil, [outline], (1,))
        shade = light * (1.12 - 0.24 * np.linspace(0, 1, y1 - y0))[:, None, None]
        surface = (
            part.colour * shade + part.grain * _noise(random, (y1 - y0, x1 - x0), 3)[..., None]
        )
        if part.stripes:
            rows = (np.arange(y0, y1) - py.min()) / max(1.0, py.max() - py.min()) * part.stripes
            surface = surface * np.where(rows % 1 < 0.2, 0.75, 1.0)[:, None, None]
        inside = stencil.astype(bool)
        image[y0:y1, x0:x1][inside] = surface[inside]
        painted[y0:y1, x0:x1] |= stencil
    return painted.astype(bool)


def _develop(random: Random, image: np.ndarray) -> np.ndarray:
    """What a camera adds: soft focus, exposure, sensor noise."""
    image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 0.9))
    image = image * random.uniform(0.8, 1.15) + random.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
