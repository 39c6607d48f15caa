"""Networks of photos behind a canonicalizer, differentiable: the same way as at inference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samrot import CanonicalizedModule
from samrot.canonicalizers import build_canonicalizer
from samrot.geometry.exact import move_tensor
from samrot.geometry.groups import C4, C8, FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.frames import SCORES_CANVAS, find_frame
from samrot.robust.pose_sources import GivenPose
from samrot.robust.straight_through import canonical_images
from tests.conftest import random_photo


def pixels(photo: np.ndarray) -> Tensor:
    return torch.from_numpy(photo.transpose(2, 0, 1).copy()).double()[None]


@pytest.mark.parametrize("group", [C4, C8], ids=lambda group: group.name)
def test_training_sees_what_is_seen_at_inference(group: FiniteGroup) -> None:
    photo = random_photo(0, 12, 12)
    for g in range(group.order):
        pose = Pose.of_element(group, g)
        frame = find_frame(photo, GivenPose(pose), tilt="full", canvas=SCORES_CANVAS)
        seen = pixels(frame.canonical_image(photo))
        logits = torch.zeros(1, group.order).double()
        logits[0, g] = 9
        trained = canonical_images(pixels(photo), logits, group)
        assert trained.shape == seen.shape
        assert float((trained - seen).abs().max()) <= 0.5 + 1e-9  # rounded to whole numbers
        if pose.tilt_deg == 0:
            assert float((trained - seen).abs().max()) < 1e-9


def test_the_edge_is_repeated_where_a_tilt_is_undone() -> None:
    photo = np.full((10, 10, 3), 200, dtype=np.uint8)
    transform = PlaneTransform.from_pose(Pose(0, 45.0), (10, 10))
    assert (transform.image(photo, None) == 200).all()
    assert (transform.image(photo) != 200).any()
    moved = transform.logits(pixels(photo), fill=None)
    torch.testing.assert_close(moved, torch.full_like(moved, 200))


def test_scores_are_those_of_every_quarter_turn_and_the_gradient_arrives() -> None:
    torch.manual_seed(0)
    canonicalizer = build_canonicalizer(
        "orbit_cnn", group="c8", size=17, mirror_average=False, widths=[16]
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    module = CanonicalizedModule(network, canonicalizer, "classification").double()
    images = torch.rand(2, 3, 16, 16).double() * 255
    scores, logits = module(images)
    assert logits.shape == (2, 8)
    for k in range(4):
        turned, moved = module(move_tensor(images, k))
        torch.testing.assert_close(turned, scores, atol=1e-8, rtol=0)
        torch.testing.assert_close(moved, C8.act_on_logits(logits, 2 * k), atol=1e-10, rtol=0)
    assert float((network(move_tensor(images, 1)) - network(images)).detach().abs().max()) > 1
    scores.square().sum().backward()
    found = canonicalizer.network.features[0].weight.grad
    assert 0 < float(found.abs().max()) < float("inf")
