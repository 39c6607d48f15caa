"""Photos that a canonicalizer is given together: what it says is what it says of each alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samrot.canonicalizers import Canonicalizer, Thumbnail
from samrot.canonicalizers.canonicalizer import of_each_once
from samrot.canonicalizers.escnn_so2 import VectorCanonicalizer
from samrot.canonicalizers.orbit_cnn import OrbitCNN
from samrot.canonicalizers.tilt import TiltCanonicalizer, TiltNetwork, TiltRule
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.geometry.groups import C8
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose

RULE = TiltRule(dead_band_deg=0, unknown_below=0)


def of_c4() -> Canonicalizer:
    return Canonicalizer(OrbitCNN([16]), Thumbnail(17), mirror_average=False)


def of_c8_and_mirrors() -> Canonicalizer:
    return Canonicalizer(
        OrbitCNN([16], group=C8), Thumbnail(17, "squares"), group=C8, aspect_log_odds=0.5,
        mirror_below=0.13,
    )  # fmt: skip


class CentreOfLight(nn.Module):
    """The vector from the middle to where the light is; it turns as the photo does."""

    def forward(self, images: Tensor) -> Tensor:
        light = images.exp().sum(dim=1)
        ways = torch.arange(light.shape[-1]).to(light) - (light.shape[-1] - 1) / 2
        right = (light.sum(dim=1) * ways).sum(dim=1)
        up = -(light.sum(dim=2) * ways).sum(dim=1)
        return torch.stack([right, up, -right, -up], dim=1) / 1000


def of_vectors() -> Canonicalizer:
    return VectorCanonicalizer(CentreOfLight(), Thumbnail(17), mirror_average=False, rule=RULE)


def of_tilts() -> Canonicalizer:
    return TiltCanonicalizer(of_c4(), TiltNetwork(0, 3, width=8), Thumbnail(33), RULE)


def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(20, 31), (24, 24), (31, 20), (40, 33), (21, 21)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.mark.parametrize("build", [of_c4, of_c8_and_mirrors, of_vectors, of_tilts])
def test_together_is_as_alone(build: Callable[[], Canonicalizer]) -> None:
    torch.manual_seed(0)
    canonicalizer = build().double().eval()
    images = photos()
    together = canonicalizer.logits_of(images)
    alone = torch.stack([canonicalizer.logits(image) for image in images])
    assert together.shape == (len(images), canonicalizer.group.order)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)
    assert float(together.std()) > 1e-6
    if canonicalizer.mirror_average:  # some are asked about their mirror images, and some are not
        canonicalizer.mirror_below = 0.0
        plain = canonicalizer.logits_of(images)
        differ = (plain - together).abs().amax(dim=1) > 1e-9
        assert 0 < int(differ.sum()) < len(images)
        canonicalizer.mirror_below = 0.13
    for pose, image in zip(canonicalizer.estimate_each(images), images, strict=True):
        own = canonicalizer.estimate(image)
        assert pose.element == own.element
        assert pose.tilt_deg == pytest.approx(own.tilt_deg, abs=1e-8)
    assert canonicalizer.estimate_each([]) == []


@pytest.mark.parametrize("build", [of_c4, of_vectors, of_tilts])
def test_quarter_turns_given_together_share_a_canonical_image_to_the_byte(
    build: Callable[[], Canonicalizer],
) -> None:
    torch.manual_seed(0)
    canonicalizer = build().eval()
    for number in (1, 2, 3, 7):  # of others beside them, whatever their number
        images = [move_image(image, k) for image in (photos() * 2)[:number] for k in range(4)]
        poses = canonicalizer.estimate_each(images)
        for first in range(0, len(images), 4):
            seen = set()
            for image, pose in zip(images[first:][:4], poses[first:][:4], strict=True):
                size_hw = (image.shape[0], image.shape[1])
                transform = PlaneTransform.to_canonical(Pose(pose.element, pose.tilt_deg), size_hw)
                seen.add((pose.tilt_deg, transform.image(image).tobytes()))
            assert len(seen) == 1
            assert sorted(pose.element for pose in poses[first:][:4]) == [0, 1, 2, 3]


def test_equal_images_are_asked_about_once() -> None:
    asked: list[int] = []

    def ask(images: list[np.ndarray]) -> Tensor:
        asked.append(len(images))
        return torch.tensor([[float(image.mean())] for image in images])

    light, dark = np.full((2, 3, 3), 9, np.uint8), np.zeros((2, 3, 3), np.uint8)
    standing = np.full((3, 2, 3), 9, np.uint8)  # of the same bytes as the first
    found = of_each_once(ask, [light, dark, light.copy(), standing])
    assert found.tolist() == [[9], [0], [9], [9]]
    assert asked == [3]


def test_no_photo_is_refused() -> None:
    for call in (of_c4().logits_of, of_c4().estimate_many, of_vectors().estimate_many):
        with pytest.raises(InputError, match="images holds no photo; expected at least one"):
            call([])
