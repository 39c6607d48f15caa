"""What stands in procedural scenes: eleven categories, each drawn from textured polygons.

An object lives in a unit box: x from -0.5 (left) to 0.5, y from 0 (the ground) to 1 (its top).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Random = np.random.Generator
Colour = np.ndarray


@dataclass(frozen=True)
class Part:
    """A textured polygon.

    Args:
        outline: (N, 2), unit box, y upwards.
        colour: (3,), RGB 0..255.
        grain: deviation of the noise on the colour.
        stripes: dark stripes across the part, 0 for none.
    """

    outline: np.ndarray
    colour: Colour
    grain: float = 12.0
    stripes: int = 0


def pick_colour(random: Random, *colours: tuple[int, int, int], spread: float = 22.0) -> Colour:
    """One of the colours, a little off."""
    colour = np.array(colours[random.integers(len(colours))], dtype=np.float64)
    return np.clip(colour + random.normal(0, spread, 3), 5, 250)


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)


def _oval(x: float, y: float, rx: float, ry: float, lumps: Random | None = None) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    radius = np.ones(28) if lumps is None else 1 + lumps.uniform(-0.16, 0.16, 28)
    return np.stack([x + rx * radius * np.cos(angles), y + ry * radius * np.sin(angles)], axis=1)


def _any_colour(random: Random) -> Colour:
    return random.uniform(25, 235, 3)


def _person(random: Random) -> list[Part]:
    skin = pick_colour(random, (224, 172, 138), (141, 85, 50), (240, 200, 170), spread=10)
    hair = pick_colour(random, (40, 25, 15), (120, 80, 40), (190, 160, 90))
    shirt, trousers = _any_colour(random), _any_colour(random)
    stride = random.uniform(0.05, 0.3)
    arm = random.uniform(0.05, 0.3)
    stripes = int(random.integers(0, 2) * 6)
    leg = np.array([(-0.12, 0.48), (0.02, 0.48), (-stride + 0.08, 0), (-stride - 0.1, 0)])
    sleeve = np.array([(-0.2, 0.8), (-0.14, 0.82), (-0.2 - arm, 0.46), (-0.28 - arm, 0.48)])
    torso = np.array([(-0.2, 0.82), (0.2, 0.82), (0.15, 0.45), (-0.15, 0.45)])
    other_side = np.array([-1.0, 1.0])
    return [
        Part(leg, trousers),
        Part(leg * other_side, trousers),
        Part(sleeve, shirt * 0.85),
        Part(sleeve * other_side, shirt * 0.85),
        Part(torso, shirt, stripes=stripes),
        Part(_oval(0, 0.915, 0.13, 0.085), skin),
        Part(_oval(0, 0.965, 0.13, 0.04), hair),
    ]


def _car(random: Random) -> list[Part]:
    paint = _any_colour(random)
    glass = pick_colour(random, (150, 180, 200), (60, 75, 90))
    front = random.uniform(0.2, 0.4)
    return [
        Part(np.array([(-0.4, 0.5), (-front, 1.0), (0.2, 1.0), (0.36, 0.5)]), paint * 0.95),
        Part(np.array([(-0.33, 0.55), (-front + 0.04, 0.92), (-0.05, 0.92), (-0.05, 0.55)]), glass),
        Part(np.array([(0, 0.55), (0, 0.92), (0.17, 0.92), (0.29, 0.55)]), glass),
        Part(np.array([(-0.5, 0.18), (-0.49, 0.5), (0.47, 0.56), (0.5, 0.18)]), paint),
        Part(_oval(-0.29, 0.17, 0.1, 0.17), np.array([25.0, 25, 28])),
        Part(_oval(0.29, 0.17, 0.1, 0.17), np.array([25.0, 25, 28])),
        Part(_oval(-0.29, 0.17, 0.045, 0.08), np.array([170.0, 170, 175])),
        Part(_oval(0.29, 0.17, 0.045, 0.08), np.array([170.0, 170, 175])),
    ]


def _bus(random: Random) -> list[Part]:
    paint = pick_colour(random, (200, 40, 40), (40, 90, 180), (235, 190, 50), (240, 240, 235))
    glass = pick_colour(random, (150, 185, 205), (50, 65, 80))
    windows = int(random.integers(4, 7))
    edges = np.linspace(-0.46, 0.46, windows + 1)
    return [
        Part(_box(-0.5, 0.12, 0.5, 1.0), paint),
        Part(_box(-0.5, 0.3, 0.5, 0.38), paint * 0.6),
        *(Part(_box(a + 0.012, 0.5, b - 0.012, 0.88), glass) for a, b in itertools.pairwise(edges)),
        Part(_oval(-0.32, 0.12, 0.07, 0.12), np.array([25.0, 25, 28])),
        Part(_oval(0.32, 0.12, 0.07, 0.12), np.array([25.0, 25, 28])),
    ]


def _tree(random: Random) -> list[Part]:
    leaves = pick_colour(random, (50, 110, 45), (90, 130, 50), (35, 85, 60), (170, 120, 40))
    trunk = Part(np.array([(-0.08, 0), (0.08, 0), (0.05, 0.55), (-0.05, 0.55)]),
                 pick_colour(random, (90, 60, 35), (120, 100, 80)), 18)  # fmt: skip
    if random.random() < 0.35:  # conifer
        tiers = [(0.2, 0.62, 0.42), (0.42, 0.82, 0.34), (0.64, 1.0, 0.24)]
        return [trunk] + [
            Part(np.array([(-w, low), (w, low), (0, high)]), leaves * (0.9 + 0.1 * i), 26)
            for i, (low, high, w) in enumerate(tiers)
        ]
    crowns = [
        (0, 0.68, 0.48, 0.3),
        (-0.2, 0.6, 0.28, 0.2),
        (0.2, 0.62, 0.28, 0.2),
        (0, 0.82, 0.3, 0.18),
    ]
    shade = random.uniform(0.8, 1.15, len(crowns))
    return [trunk] + [
        Part(_oval(*crown, lumps=random), np.clip(leaves * s, 0, 255), 30)
        for crown, s in zip(crowns, shade, strict=True)
    ]


def _bush(random: Random) -> list[Part]:
    leaves = pick_colour(random, (70, 120, 50), (110, 140, 60), (60, 90, 70))
    return [
        Part(_oval(-0.22, 0.4, 0.28, 0.4, random), leaves * 0.9, 28),
        Part(_oval(0.22, 0.42, 0.28, 0.42, random), leaves, 28),
        Part(_oval(0.0, 0.55, 0.3, 0.45, random), np.clip(leaves * 1.1, 0, 255), 28),
    ]


def _house(random: Random) -> list[Part]:
    wall = pick_colour(random, (200, 180, 150), (170, 90, 70), (225, 220, 205), (150, 160, 170))
    roof = pick_colour(random, (140, 60, 45), (80, 75, 80), (100, 70, 50))
    glass = pick_colour(random, (90, 120, 150), (240, 220, 140))
    return [
        Part(_box(-0.42, 0, 0.42, 0.6), wall, 14, stripes=int(random.integers(0, 2) * 14)),
        Part(
            np.array([(-0.5, 0.57), (0.5, 0.57), (0.22, 1.0), (-0.22, 1.0)]), roof, 16, stripes=10
        ),
        Part(_box(-0.08, 0, 0.08, 0.34), _any_colour(random) * 0.7),
        Part(_box(-0.34, 0.2, -0.18, 0.44), glass),
        Part(_box(0.18, 0.2, 0.34, 0.44), glass),
    ]


def _tower(random: Random) -> list[Part]:
    wall = pick_colour(random, (150, 155, 165), (190, 175, 155), (110, 120, 135))
    glass = pick_colour(random, (70, 95, 125), (180, 200, 215), (235, 215, 150))
    columns, rows = int(random.integers(3, 6)), int(random.integers(6, 12))
    xs, ys = np.linspace(-0.42, 0.42, columns + 1), np.linspace(0.08, 0.95, rows + 1)
    windows = [
        Part(
            _box(x + 0.035, y + 0.012, x + (xs[1] - xs[0]) - 0.035, y + (ys[1] - ys[0]) * 0.6),
            glass,
        )
        for x in xs[:-1]
        for y in ys[:-1]
    ]
    return [Part(_box(-0.5, 0, 0.5, 1.0), wall, 10), *windows]


def _dog(random: Random) -> list[Part]:
    fur = pick_colour(random, (150, 105, 60), (60, 50, 45), (220, 205, 180))
    legs = [Part(_box(x, 0, x + 0.08, 0.45), fur * 0.85, 16) for x in (-0.36, -0.22, 0.12, 0.24)]
    return [
        *legs,
        Part(_oval(-0.04, 0.52, 0.38, 0.2), fur, 20),
        Part(np.array([(-0.38, 0.55), (-0.5, 0.95), (-0.46, 0.97), (-0.32, 0.62)]), fur, 16),
        Part(_oval(0.36, 0.76, 0.14, 0.19), fur, 16),
        Part(np.array([(0.27, 0.85), (0.3, 1.0), (0.37, 0.9)]), fur * 0.6),
    ]


def _lamp(random: Random) -> list[Part]:
    iron = pick_colour(random, (60, 65, 70), (120, 120, 120), (40, 60, 50), spread=10)
    return [
        Part(_box(-0.06, 0, 0.06, 0.86), iron),
        Part(_box(-0.2, 0, 0.2, 0.04), iron * 0.8),
        Part(np.array([(-0.3, 0.84), (0.3, 0.84), (0.5, 0.95), (0, 1.0), (-0.5, 0.95)]),
             pick_colour(random, (250, 235, 170), (200, 200, 190))),
    ]  # fmt: skip


def _ball(random: Random) -> list[Part]:
    first, second = _any_colour(random), _any_colour(random)
    return [
        Part(_oval(0, 0.5, 0.5, 0.5), first),
        Part(_oval(0, 0.5, 0.18, 0.5), second),
        Part(_oval(-0.15, 0.72, 0.12, 0.12), np.clip(first + 50, 0, 255)),
    ]


def _bench(random: Random) -> list[Part]:
    wood, iron = pick_colour(random, (140, 95, 55), (90, 110, 80)), np.array([50.0, 52, 55])
    return [
        Part(_box(-0.42, 0, -0.34, 0.5), iron),
        Part(_box(0.34, 0, 0.42, 0.5), iron),
        Part(_box(-0.5, 0.42, 0.5, 0.56), wood, 18),
        Part(_box(-0.46, 0.66, 0.46, 0.8), wood, 18),
        Part(_box(-0.46, 0.86, 0.46, 1.0), wood, 18),
        Part(_box(-0.4, 0.5, -0.36, 0.98), iron),
        Part(_box(0.36, 0.5, 0.4, 0.98), iron),
    ]


@dataclass(frozen=True)
class Category:
    """What stands in scenes.

    Args:
        name: name of the category.
        draw: makes the parts of one object.
        height: height in units of a person's height, smallest and largest.
        aspect: width / height, smallest and largest.
        weight: how common it is.
    """

    name: str
    draw: Callable[[Random], list[Part]]
    height: tuple[float, float]
    aspect: tuple[float, float]
    weight: float


CATEGORIES = (
    Category("person", _person, (0.85, 1.15), (0.4, 0.6), 4.0),
    Category("car", _car, (0.75, 1.0), (1.9, 2.8), 2.5),
    Category("bus", _bus, (1.5, 2.0), (1.8, 2.8), 1.0),
    Category("tree", _tree, (1.6, 3.6), (0.5, 0.95), 2.0),
    Category("bush", _bush, (0.4, 0.9), (1.1, 2.0), 1.5),
    Category("house", _house, (2.2, 3.2), (0.9, 1.6), 1.0),
    Category("tower", _tower, (3.5, 6.0), (0.25, 0.5), 0.8),
    Category("dog", _dog, (0.4, 0.65), (1.1, 1.5), 1.5),
    Category("lamp", _lamp, (1.6, 2.6), (0.12, 0.25), 1.0),
    Category("ball", _ball, (0.15, 0.4), (1.0, 1.0), 1.0),
    Category("bench", _bench, (0.5, 0.7), (1.6, 2.6), 1.0),
)
