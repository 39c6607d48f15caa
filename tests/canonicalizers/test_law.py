"""Every canonicalizer obeys the roll law, on every size; a network that does not is caught."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from samrot.canonicalizers import CANONICALIZERS, Canonicalizer, Thumbnail, build_canonicalizer
from samrot.canonicalizers.architectures import PLAIN_EXPORTS
from samrot.canonicalizers.thumbnail import FRAMES
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from samrot.geometry.groups import C4, C8, D4, FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.testing import assert_commutes
from tests.conftest import random_photo, small_options

# escnn samples its filters in float32; the exported network is tested in float64.
TOLERANCE = {"escnn_wrn": 1e-6, "escnn_so2": 1e-5}


def law_violation(canonicalizer: Canonicalizer, image: np.ndarray) -> float:
    """Largest difference from the law over the group, relative to the logits' size."""
    upright, group = canonicalizer.logits(image), canonicalizer.group
    scale = max(1.0, float(upright.abs().max()))
    differences = [
        canonicalizer.logits(move_image(image, g)) - group.act_on_logits(upright, g)
        for g in range(group.order)
    ]
    return max(float(difference.abs().max()) for difference in differences) / scale


def small(architecture: str, frame: str, group: FiniteGroup = C4) -> Canonicalizer:
    if architecture in PLAIN_EXPORTS:
        pytest.importorskip("escnn", reason="escnn is not installed")
    torch.manual_seed(0)
    canonicalizer = build_canonicalizer(
        architecture,
        group=group.name,
        size=33,
        frame=frame,
        mirror_average=group is C4,
        aspect_log_odds=0.7 if group.is_exact else 0.0,
        **small_options(architecture),
    )
    if group is D4:
        torch.nn.init.normal_(canonicalizer.network.hand.weight)
    if architecture in PLAIN_EXPORTS:
        canonicalizer.network = canonicalizer.network.export()
    return canonicalizer.eval().double()


# The larger EfficientNets differ from the smallest in widths and depths alone.
LARGE = {"orbit_lite1": "square", "orbit_lite2": "squares"}


@pytest.mark.parametrize(
    ("architecture", "frame"),
    [
        (architecture, frame)
        for architecture in CANONICALIZERS
        for frame in FRAMES
        if LARGE.get(architecture, frame) == frame
    ],
)
def test_roll_law(architecture: str, frame: str) -> None:
    assert_commutes(small(architecture, frame), tolerance=TOLERANCE.get(architecture))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    "architecture", ["orbit_cnn", pytest.param("orbit_lite0", marks=pytest.mark.slow)]
)
def test_law_of_mirror_images(architecture: str, frame: str) -> None:
    assert_commutes(small(architecture, frame, D4), D4)
    assert_commutes(small(architecture, frame, D4).float(), D4, image=random_photo(8, 41, 64))


@pytest.mark.parametrize("architecture", ["orbit_cnn", "escnn_wrn"])
def test_law_of_c8(architecture: str) -> None:
    """Exact for quarter turns; between them near the law, and in its sense."""
    canonicalizer = small(architecture, "square", C8)
    y, x = np.mgrid[:80, :80]
    waves = [np.sin(x / 9 + y / 17), np.cos(x / 13 - y / 8), np.sin(x * y / 700)]
    photo = np.rint(127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    upright = canonicalizer.logits(photo)
    size = float(upright.std())
    for g in range(8):
        pose = Pose.of_element(C8, g)
        turned = PlaneTransform.from_pose(pose, (80, 80)).image(photo, fill=None)
        logits = canonicalizer.logits(turned)
        off = float((logits - C8.act_on_logits(upright, g)).std())
        if pose.tilt_deg == 0:
            assert off < TOLERANCE.get(architecture, 1e-10)
        else:
            assert off < 0.5 * size
            opposite = C8.act_on_logits(upright, C8.inverse(g))
            assert float((logits - opposite).std()) > 1.5 * off


def test_the_mirror_average_would_tie_the_two_hands() -> None:
    with pytest.raises(InputError, match="mirror_average is true for D4, whose mirror images"):
        build_canonicalizer("orbit_cnn", group="d4")
    tied = small("orbit_cnn", "square", D4)
    torch.nn.init.zeros_(tied.network.hand.weight)
    logits = tied.logits(random_photo(0, 33, 40))
    torch.testing.assert_close(logits[:4], logits[4:])


def test_networks_made_for_quarter_turns_refuse_mirrors() -> None:
    with pytest.raises(InputError, match="group is D4 for 'gcnn', which is made for C4; choose"):
        build_canonicalizer("gcnn", group="d4", mirror_average=False)


@pytest.mark.parametrize("architecture", CANONICALIZERS)
def test_poses_are_exact_in_float32(architecture: str) -> None:
    canonicalizer = small(architecture, "square").float()
    for seed in range(10):
        image = random_photo(seed, 41, 64)
        pose = canonicalizer.pose(image)
        turned = [canonicalizer.pose(move_image(image, k)) for k in range(4)]
        assert turned == [(pose + k) % 4 for k in range(4)]


def test_the_aspect_ratio_is_hidden_unless_asked_for() -> None:
    canonicalizer = small("gcnn", "square")
    image = random_photo(0, 33, 33)
    wide = np.concatenate([random_photo(1, 33, 10), image, random_photo(2, 33, 10)], axis=1)
    told = canonicalizer.logits(wide) - canonicalizer.logits(image)
    torch.testing.assert_close(told, torch.tensor([0.35, -0.35, 0.35, -0.35]).double())
    canonicalizer.aspect_log_odds = 0.0
    assert torch.equal(canonicalizer.logits(wide), canonicalizer.logits(image))


def test_a_plain_network_breaks_the_law() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = Canonicalizer(nn.Sequential(network, nn.Linear(8, 4)), Thumbnail(33)).double()
    assert law_violation(plain, random_photo(0, 48, 64)) > 1e-3


def test_an_integer_crop_breaks_the_law() -> None:
    """Why the thumbnail samples in continuous coordinates: parity of the sides."""

    class IntegerCrop(Thumbnail):
        def __call__(self, image: np.ndarray) -> np.ndarray:
            height, width = image.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            return super().__call__(image[top : top + side, left : left + side])

    canonicalizer = small("gcnn", "square")
    assert law_violation(canonicalizer, random_photo(0, 40, 63)) < 1e-10
    canonicalizer.thumbnail = IntegerCrop(33)
    assert law_violation(canonicalizer, random_photo(0, 40, 63)) > 1e-3


def test_escnn_export_is_the_same_network() -> None:
    pytest.importorskip("escnn", reason="escnn is not installed")
    torch.manual_seed(0)
    trained = build_canonicalizer("escnn_wrn", size=33, widths=[2, 4]).network
    images = torch.randn(4, 3, 33, 33)
    trained.train()
    trained(images)  # moves the running statistics
    trained.eval()
    torch.testing.assert_close(trained.export()(images), trained(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["orbit_cnn", "gcnn"])
def test_photos_of_one_pose_sum_their_evidence(architecture: str) -> None:
    canonicalizer = small(architecture, "square")
    images = [random_photo(seed, 40 + seed, 57) for seed in range(5)]
    together = canonicalizer.estimate_many(images)
    log_probabilities = sum(canonicalizer.logits(image).log_softmax(0) for image in images)
    expected = log_probabilities.softmax(0).numpy()  # type: ignore[union-attr]
    np.testing.assert_allclose(together.probabilities, expected, atol=1e-9)
    assert together.element == expected.argmax()
    # Turned together they keep the law; their order does not matter, and one is itself.
    for k in range(4):
        turned = canonicalizer.estimate_many([move_image(image, k) for image in images[::-1]])
        assert turned.element == C4.compose(k, together.element)
        np.testing.assert_allclose(turned.probabilities, np.roll(expected, k), atol=1e-9)
    alone = canonicalizer.estimate(images[0])
    np.testing.assert_array_equal(
        alone.probabilities, canonicalizer.logits(images[0]).double().softmax(0).numpy()
    )
    with pytest.raises(InputError, match="images holds no photo; expected at least one"):
        canonicalizer.estimate_many([])
