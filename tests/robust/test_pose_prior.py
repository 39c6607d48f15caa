"""What is known of the photos beforehand, combined with a canonicalizer's evidence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import samrot
from samrot.canonicalizers import Canonicalizer, Thumbnail
from samrot.errors import InputError
from samrot.geometry.groups import D4
from samrot.robust.pose_sources import PriorWeighted
from tests.conftest import random_photo


class Says(nn.Module):
    """A network that gives the same probabilities to every photo."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities, dtype=torch.float64).log()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def saying(*probabilities: float) -> Canonicalizer:
    return Canonicalizer(Says(list(probabilities)), Thumbnail(33), mirror_average=False)


PHOTO = random_photo(3, 40, 56)


def test_evidence_and_prior_multiply() -> None:
    source = PriorWeighted(saying(0.2, 0.5, 0.2, 0.1), (0.7, 0.1, 0.1, 0.1))
    pose = source.estimate(PHOTO)
    joint = np.array([0.14, 0.05, 0.02, 0.01])
    assert pose.element == 0
    np.testing.assert_allclose(pose.probabilities, joint / joint.sum(), rtol=1e-6)
    assert pose.confidence == pytest.approx(0.14 / 0.22)


def test_strong_evidence_overrules_the_prior() -> None:
    assert (
        PriorWeighted(saying(0.001, 0.997, 0.001, 0.001), (0.94, 0.02, 0.02, 0.02))
        .estimate(PHOTO)
        .element
        == 1
    )


def test_a_flat_prior_changes_nothing() -> None:
    canonicalizer = samrot.load_canonicalizer("c4")
    own = canonicalizer.estimate(PHOTO)
    weighted = PriorWeighted(canonicalizer, (0.25,) * 4).estimate(PHOTO)
    assert weighted.element == own.element
    np.testing.assert_allclose(weighted.probabilities, own.probabilities, rtol=1e-12)


def test_what_never_arrives_is_never_found() -> None:
    source = PriorWeighted(saying(1e-300, 1.0, 1e-300, 1e-300), (0.0, 0.0, 1.0, 0.0))
    pose = source.estimate(PHOTO)
    assert pose.element == 2
    assert np.isfinite(np.asarray(pose.probabilities)).all()


def test_a_tilt_is_kept_where_the_pose_is() -> None:
    canonicalizer = samrot.load_canonicalizer("so2")
    own = canonicalizer.estimate(PHOTO)
    prior = np.full(4, 0.1)
    prior[own.element] = 0.7
    weighted = PriorWeighted(canonicalizer, tuple(prior)).estimate(PHOTO)
    assert (weighted.element, weighted.tilt_deg) == (own.element, own.tilt_deg)


def test_the_predictor_takes_it() -> None:
    segmenter = samrot.load_segmenter("box")
    prior = [0.94, 0.02, 0.02, 0.02]
    predictor = samrot.RobustPredictor(segmenter, saying(0.2, 0.5, 0.2, 0.1), pose_prior=prior)
    predictor.set_image(PHOTO)
    assert predictor.pose == 0
    assert predictor.pose_probabilities[0] == pytest.approx(0.188 / 0.204)


@pytest.mark.parametrize(
    "prior", [[1.0], [0.5, 0.5, 0.5, 0.5], [1.1, -0.1, 0.0, 0.0], [float("nan"), 1.0, 0.0, 0.0]]
)
def test_what_is_no_distribution_is_refused(prior: list[float]) -> None:
    with pytest.raises(InputError, match="pose_prior is .*expected 4 probabilities that sum to 1"):
        samrot.RobustPredictor(samrot.load_segmenter("box"), "c4", pose_prior=prior)


def test_a_prior_needs_a_canonicalizer() -> None:
    with pytest.raises(InputError, match="pose_prior is for pose_source canonicalizer"):
        samrot.RobustPredictor(samrot.load_segmenter("box"), None, pose_prior=[1.0, 0, 0, 0])


def test_a_prior_of_a_larger_group() -> None:
    canonicalizer = samrot.load_canonicalizer("d4")
    prior = (0.5, *[0.5 / 7] * 7)
    assert PriorWeighted(canonicalizer, prior).estimate(PHOTO).element in range(D4.order)
