"""Items that compare canonicalizers trained for the study: what is measured of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

import samrot
from samrot.errors import InputError
from samrot.geometry.groups import C4
from samrot.scoring.pose_statistics import (
    circular_mmd,
    circular_wasserstein,
    kl_divergence,
    reliability,
)
from studies.context import Context
from studies.evidence import Evidence
from studies.numbers import SEED, Number, Sample, of_one
from studies.policies import needed_run
from studies.precision import PlainRun, once
from studies.trainings import Training, list_trainings

SHUFFLES = 4  # of errors among the photos
UPRIGHT = np.eye(C4.order)[0]  # the poses of the photos that a segmenter was trained on


class Subject:
    """A trained canonicalizer.

    Args:
        training: how it was trained.
        context: what it is measured on.
    """

    def __init__(self, training: Training, context: Context) -> None:
        self.labels = training.labels
        checkpoint = training.checkpoint(context.out)
        self.checkpoint, self.context = checkpoint, context
        self.said = context.said(training.name, checkpoint)
        self.name = training.name

    @cached_property
    def said_masked(self) -> Evidence:
        """Evidence on the photos with masks."""
        return self.context.said_masked(self.name, self.checkpoint)

    @property
    def errors_masked(self) -> np.ndarray:
        """Errors on those."""
        return self.said_masked.errors

    @property
    def plain(self) -> PlainRun:
        """The plain segmenter on those."""
        return needed_run(self.context, "AP")

    @cached_property
    def precision(self) -> np.ndarray:
        """(1 + R,) AP with it."""
        return self.plain.precision(once(self.errors_masked))

    def shuffled_precision(self) -> np.ndarray:
        """(1 + R,) AP if other photos had these errors, the mean of some shuffles of them."""
        random = np.random.default_rng(SEED)
        shuffles = [once(random.permutation(self.errors_masked)) for _ in range(SHUFFLES)]
        return np.mean([self.plain.precision(weights) for weights in shuffles], axis=0)

    def of_poses(self, statistic: Callable[[np.ndarray], float]) -> np.ndarray:
        """(1 + R,) values of a statistic of the shares of photos left turned by each turn."""
        errors = self.said.errors
        return self.context.sample.of(
            lambda drawn: statistic(np.bincount(errors[drawn], minlength=C4.order) / len(drawn))
        )

    def calibration_error(self) -> np.ndarray:
        """(1 + R,) ECE."""
        confidence, correct = self.said.probabilities.max(axis=1), self.said.correct
        return self.context.sample.of(
            lambda drawn: reliability(confidence[drawn], correct[drawn] > 0).expected_error
        )

    def smoothed_divergence(self) -> np.ndarray:
        """(1 + R,) KL(training poses || canonicalized poses), each turn given half a photo more.

        Without that it would be infinite where no photo of a resample came out upright.
        """
        number = len(self.context.sample)

        def divergence(shares: np.ndarray) -> float:
            return kl_divergence(UPRIGHT, (number * shares + 0.5) / (number + 0.5 * C4.order))

        return self.of_poses(divergence)

    def parameters(self) -> np.ndarray:
        """(1 + R,) how many numbers the network has."""
        network = samrot.load_canonicalizer(self.checkpoint).network
        number = sum(parameter.numel() for parameter in network.parameters())
        return np.full(len(self.context.sample.counts), float(number))


class Measure(NamedTuple):
    """Something measured of a canonicalizer.

    Args:
        drawn: (1 + R,) values.
        of_masks: it is about the photos with masks.
    """

    drawn: Callable[[Subject], np.ndarray]
    of_masks: bool = False


MEASURES: dict[str, Measure] = {
    "parameters": Measure(Subject.parameters),
    "milliseconds": Measure(
        lambda s: s.plain.sample.mean(s.said_masked.milliseconds), of_masks=True
    ),
    "accuracy": Measure(lambda s: s.context.sample.mean(s.said.correct)),
    "calibration error": Measure(Subject.calibration_error),
    "KL divergence": Measure(Subject.smoothed_divergence),
    "Wasserstein distance": Measure(
        lambda s: s.of_poses(lambda shares: circular_wasserstein(UPRIGHT, shares))
    ),
    "MMD, von Mises kernel": Measure(
        lambda s: s.of_poses(lambda shares: circular_mmd(UPRIGHT, shares))
    ),
    "AP": Measure(lambda s: s.precision, of_masks=True),
    "retention": Measure(lambda s: s.precision / s.plain.at_turns[0], of_masks=True),
    "AP predicted": Measure(lambda s: s.plain.predicted(s.errors_masked), of_masks=True),
    "AP, errors shuffled": Measure(Subject.shuffled_precision, of_masks=True),
    "AP less predicted": Measure(
        lambda s: s.precision - s.plain.predicted(s.errors_masked), of_masks=True
    ),
}


def expressivity(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """Networks over two decades of parameters, on equal budgets."""
    yield from compare(context, settings, "expressivity")


def training_photos(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """Training photos of which some are turned."""
    groups = find_subjects(context, "training_photos")
    yield from measure_all(context, settings, groups)
    accuracy = MEASURES["accuracy"].drawn
    reference = groups.get(tuple(settings["reference"].values()))
    if reference is None:
        return
    for subjects in groups.values():
        pairs = zip(reference, subjects, strict=False)
        lost = np.stack([accuracy(upright) - accuracy(own) for upright, own in pairs])
        yield Number(labels_of(subjects), "accuracy lost", len(context.sample), lost)


def alignment(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """How well canonicalized photos match those that the segmenter was trained on, by objective."""
    groups = find_subjects(context, "alignment")
    yield from measure_all(context, settings, groups)
    subjects = [subject for group in groups.values() for subject in group]
    if context.plain is None or len(subjects) < 3:
        return
    precision = np.stack([subject.precision for subject in subjects])
    for name in settings["predictors"]:
        values = np.stack([MEASURES[name].drawn(subject) for subject in subjects])
        labels = {"objective": "rank correlation with AP, over all"}
        yield of_one(labels, name, len(subjects), rank_correlations(values, precision))


def prior_strength(context: Context, settings: dict[str, Any]) -> Iterator[Number]:
    """How strong the prior must be beside the loss of the segmenter."""
    yield from compare(context, settings, "prior_strength")


def compare(context: Context, settings: dict[str, Any], item: str) -> Iterator[Number]:
    """All measures of all that an item trained."""
    yield from measure_all(context, settings, find_subjects(context, item))


Groups = dict[tuple[Any, ...], list[Subject]]


def find_subjects(context: Context, item: str) -> Groups:
    """What an item has trained, by its point of each axis: a canonicalizer a seed.

    Raises:
        InputError: if none of it is trained.
    """
    groups: Groups = {}
    trainings = list_trainings(item, context.quick)
    missing = [t for t in trainings if not t.checkpoint(context.out).is_file()]
    for training in missing:
        print(f"study: {item} goes without {training.labels}, not trained", file=sys.stderr)
    for training in trainings:
        if training not in missing:
            key = tuple(value for name, value in training.labels.items() if name != "seed")
            groups.setdefault(key, []).append(Subject(training, context))
    if not groups:
        raise InputError(f"{item} compares canonicalizers that are not trained; run --train first")
    return groups


def measure_all(context: Context, settings: dict[str, Any], groups: Groups) -> Iterator[Number]:
    """The measures that the settings name, as far as there are photos for them."""
    for subjects in groups.values():
        for quantity in settings["measures"]:
            measure = MEASURES[quantity]
            if measure.of_masks and context.plain is None:
                continue
            sample: Sample = context.sample
            if measure.of_masks and context.plain is not None:
                sample = context.plain.sample
            drawn = np.stack([measure.drawn(subject) for subject in subjects])
            yield Number(labels_of(subjects), quantity, len(sample), drawn)


def labels_of(subjects: list[Subject]) -> dict[str, Any]:
    """Their labels, but for the seed."""
    return {name: value for name, value in subjects[0].labels.items() if name != "seed"}


def rank_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over canonicalizers, resampled with the photos.

    Args:
        first, second: (C, 1 + R) of C canonicalizers, on the photos and on R resamples.

    Returns:
        (1 + R,); NaN where all of one are equal.
    """
    random, (number, columns) = np.random.default_rng(SEED), first.shape
    chosen = random.integers(number, size=(number, columns))
    chosen[:, 0] = np.arange(number)
    drawn = [ranks(np.take_along_axis(values, chosen, axis=0)) for values in (first, second)]
    centred = [values - values.mean(axis=0) for values in drawn]
    norms = [np.sqrt((values**2).sum(axis=0)) for values in centred]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((centred[0] * centred[1]).sum(axis=0) / (norms[0] * norms[1]))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the first axis, those of equal values averaged: how many are below, and half."""
    below = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return np.asarray(below + (equal - 1) / 2)
