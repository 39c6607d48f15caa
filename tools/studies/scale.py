"""What the canonicalizer costs beside the segmenter, and a model of what the segmenter costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.racing import race
from benchmarks.subjects import boxes_on, build_sam, photo
from torch import nn

import samrot
from samrot.segmenters import Prompts
from studies.context import Context
from studies.numbers import Number, Sample, of_one

ASPECT = (3, 4)


class Point(NamedTuple):
    """What a photo is asked.

    Args:
        side: longest side, pixels.
        boxes: number of boxes.
        turns: quarter turns that are undone, 0 or 1.
    """

    side: int
    boxes: int
    turns: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the photo."""
        return self.side * ASPECT[0] // ASPECT[1], self.side

    @property
    def features(self) -> list[float]:
        """What cost is taken to be linear in: encoding, pixels read and turned, masks drawn."""
        height, width = self.size_hw
        megapixels = height * width / 1e6
        masks = self.boxes * megapixels
        return [1.0, megapixels, self.turns * megapixels, self.boxes, masks, self.turns * masks]


def scale(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """Share of the canonicalizer in time and memory; how well a linear model of cost fits."""
    chosen = settings | settings["quick"] if context.quick else settings
    canonicalizer = samrot.load_canonicalizer(chosen["canonicalizer"], device=context.device)
    for name, asked in chosen["segmenters"].items():
        sam = build_sam(name).to(context.device)
        predictor = samrot.RobustPredictor(sam)
        sample = Sample(asked["repeats"], context.resamples)
        shares = {"share of weights": weight_share(canonicalizer, sam, sample)}
        yield from _numbers({"segmenter": name, "longest side": "any"}, shares, sample)
        boxes = (*asked["boxes"], *asked["held_out_boxes"])
        sides = sorted((*asked["sides"], *asked["held_out_sides"]))
        points = list(itertools.starmap(Point, itertools.product(sides, boxes, asked["turns"])))
        images = {side: photo(0, Point(side, 1, 0).size_hw) for side in sides}
        contestants: dict[Any, Callable[[], object]] = {
            point: _asker(predictor, images[point.side], point) for point in points
        }
        contestants |= {
            side: partial(canonicalizer.estimate, image) for side, image in images.items()
        }
        raced = race(contestants, asked["repeats"])
        seconds: dict[Any, np.ndarray] = {key: np.array(raced[key]) for key in contestants}
        for side in sides:
            first = Point(side, boxes[0], 1)
            own, of_segmenter = (medians(sample, seconds[key]) for key in (side, first))
            shares = {
                "milliseconds of the canonicalizer": 1000 * own,
                "milliseconds of the segmenter": 1000 * of_segmenter,
                "share of time": share(own, of_segmenter),
            }
            if context.device != "cpu":
                peaks = [
                    np.full(len(sample.counts), peak(contestants[key])) for key in (side, first)
                ]
                shares["share of peak memory"] = share(*peaks)
            yield from _numbers({"segmenter": name, "longest side": side}, shares, sample)
        costs = of_even_rounds({point: seconds[point] for point in points})
        held_out = [
            point
            for point in points
            if point.side in asked["held_out_sides"] or point.boxes in asked["held_out_boxes"]
        ]
        if held_out:
            errors = {"largest error of the cost model": model_error(costs, held_out, sample)}
            yield from _numbers({"segmenter": name, "longest side": "held out"}, errors, sample)


def _numbers(
    labels: dict[str, Any], values: dict[str, np.ndarray], sample: Sample
) -> Iterator[Number]:
    for quantity, drawn in values.items():
        yield of_one(labels, quantity, len(sample), drawn)


def _asker(
    predictor: samrot.RobustPredictor, image: np.ndarray, point: Point
) -> Callable[[], object]:
    """Segments the photo, whose pose is known."""
    prompts = Prompts(boxes_xyxy=boxes_on(point.size_hw, point.boxes))

    def ask() -> object:
        predictor.set_image(image, pose=point.turns)
        return predictor.predict_prompts(prompts)

    return ask


def of_even_rounds(seconds: dict[Point, np.ndarray]) -> dict[Point, np.ndarray]:
    """Seconds as if the rounds of a race, (N,) of each, had been equally fast for most of them."""
    times = np.array(list(seconds.values()))
    slowness = np.median(times / np.median(times, axis=1, keepdims=True), axis=0)
    return dict(zip(seconds, times / slowness, strict=True))


def medians(sample: Sample, seconds: np.ndarray) -> np.ndarray:
    """(1 + R,) medians of the repeats, (N,), and of resamples of them."""
    return sample.of(lambda drawn: float(np.median(seconds[drawn])))


def share(part: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The part, of the two together."""
    return np.asarray(part / (part + rest))


def weight_share(part: nn.Module, rest: nn.Module, sample: Sample) -> np.ndarray:
    """(1 + R,) share of one network in the bytes of the weights of two."""
    sizes = [
        sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        for network in (part, rest)
    ]
    return np.full(len(sample.counts), sizes[0] / sum(sizes))


def peak(run: Callable[[], object]) -> float:
    """Bytes of the GPU that it takes besides what was taken before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated() - before)


def model_error(
    seconds: dict[Point, np.ndarray], held_out: Sequence[Point], sample: Sample
) -> np.ndarray:
    """(1 + R,) largest relative error at held out points of a linear model fitted to the others."""
    fitted = [point for point in seconds if point not in held_out]

    def largest(drawn: np.ndarray) -> float:
        cost = {point: float(np.median(of_point[drawn])) for point, of_point in seconds.items()}
        weights = fit_cost(fitted, [cost[point] for point in fitted])
        errors = [np.dot(point.features, weights) / cost[point] - 1 for point in held_out]
        return float(np.max(np.abs(errors)))

    return sample.of(largest)


def fit_cost(points: Sequence[Point], seconds: Sequence[float]) -> np.ndarray:
    """Weights of the features that leave the least squares of relative errors."""
    features = np.array([point.features for point in points]) / np.array(seconds)[:, None]
    weights: np.ndarray = np.linalg.lstsq(features, np.ones(len(points)), rcond=None)[0]
    return weights
