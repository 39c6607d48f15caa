"""EfficientNet-Lite as plain convolutions, its batch normalisation folded into them.

Source: Tan and Le 2019 (arXiv 1905.11946); the Lite variants leave out squeeze-and-excitation and
use ReLU6. Without batch statistics, training does not depend on how a batch is split.
"""

from __future__ import annotations

import math
from itertools import zip_longest

import torch
from torch import Tensor, nn

from samrot.errors import InputError
from samrot.layers.frozen import is_frozen, made_once

STEM = 32
# (expansion, channels, repeats, stride, kernel) of each stage.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# Multipliers of channels and repeats; the stem keeps its channels, the first and last stage theirs
# repeats.
SCALING = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))
BATCH_NORM_EPS = 1e-3
# The published weights take pixels as (x - 127) / 128.
INPUT_MEAN, INPUT_STD = 127.0, 128.0


class Convolutions(nn.Sequential):
    """Convolutions, each with the ReLU6 that may follow it: in one pass where oneDNN can."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if not _fuses(images):
            return super().forward(images)
        is_done = False  # what follows was done along
        for layer, follower in zip_longest(self, list(self)[1:]):
            if is_done:
                is_done = False
            elif type(layer) is not nn.Conv2d:  # wrapped, for low-rank updates
                images = layer(images)
            else:
                conv, is_bounded = layer, isinstance(follower, nn.ReLU6)
                is_done = is_bounded
                images = torch.ops.mkldnn._convolution_pointwise(
                    images, _packed(conv, images), conv.bias, conv.padding, conv.stride,
                    conv.dilation, conv.groups, "hardtanh" if is_bounded else "none",
                    [0.0, 6.0] if is_bounded else [], "",
                )  # fmt: skip
        return images


def _fuses(images: Tensor) -> bool:
    """Whether oneDNN takes them: on a CPU, nothing to differentiate, traced or compiled."""
    return (
        type(images) is Tensor
        and images.device.type == "cpu"
        and images.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def _packed(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """The weight, if frozen as oneDNN lays it out for such images, which takes time."""
    if not is_frozen(conv.weight):
        return conv.weight
    return made_once(
        conv,
        conv.weight,
        lambda: torch.ops.mkldnn._reorder_convolution_weight(
            conv.weight, conv.padding, conv.stride, conv.dilation, conv.groups, list(images.shape)
        ),
    )


class MBConv(nn.Module):
    """Inverted residual block: expand, depthwise convolution, project."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, kernel: int
    ) -> None:
        super().__init__()
        middle = in_channels * expansion
        expand = [nn.Conv2d(in_channels, middle, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle)
        self.layers = Convolutions(
            *expand, depthwise, nn.ReLU6(), nn.Conv2d(middle, out_channels, 1)
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        changed = self.layers(images)
        return changed.add_(images) if self.residual else changed


class EfficientNetLite(nn.Module):
    """The features of EfficientNet-Lite0, 1 or 2.

    At sides of 32 n + 1 its symmetric padding is that of the published network.

    Args:
        variant: 0, 1 or 2, of growing width and depth.
        stages: how many of the seven stages to keep.

    Raises:
        InputError: if there are no such stages.
    """

    def __init__(self, variant: int = 0, stages: int = 7) -> None:
        if not 1 <= stages <= len(STAGES):
            raise InputError(f"stages is {stages}; expected 1 to {len(STAGES)}")
        super().__init__()
        self.variant = variant
        width, depth = SCALING[variant]
        self.stem = Convolutions(nn.Conv2d(3, STEM, 3, 2, 1), nn.ReLU6())
        self.stages = nn.ModuleList()
        self.channels = STEM
        for number, (expansion, channels, repeats, stride, kernel) in enumerate(STAGES[:stages]):
            out_channels = _round_to_eight(channels * width)
            if 0 < number < len(STAGES) - 1:
                repeats = math.ceil(repeats * depth)
            blocks = []
            for block_stride in (stride, *[1] * (repeats - 1)):
                blocks.append(MBConv(self.channels, out_channels, expansion, block_stride, kernel))
                self.channels = out_channels
            self.stages.append(nn.Sequential(*blocks))
        self.to(memory_format=torch.channels_last)  # depthwise convolutions: four times as fast

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, channels, s, s)."""
        features = self.stem(images.contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            features = stage(features)
        return features

    def load_published(
        self, published: dict[str, Tensor], pixel_mean: Tensor, pixel_std: Tensor
    ) -> None:
        """Take the published ImageNet weights; arguments as of ``fold_published_weights``."""
        folded = fold_published_weights(published, self.variant, pixel_mean, pixel_std)
        self.load_state_dict({name: folded[name] for name in self.state_dict()})

    def freeze(self, stages: int) -> None:
        """Keep the weights of the first stages, and of the stem with them; 0 keeps none.

        Raises:
            InputError: if there are not as many.
        """
        if not 0 <= stages <= len(self.stages):
            raise InputError(f"frozen_stages is {stages}; expected 0 to {len(self.stages)}")
        for part in (self.stem, *self.stages[:stages]) if stages else ():
            part.requires_grad_(False)


def _round_to_eight(channels: float) -> int:
    """The nearest multiple of 8 not more than a tenth smaller, as in the published networks."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def fold_published_weights(
    published: dict[str, Tensor], variant: int, pixel_mean: Tensor, pixel_std: Tensor
) -> dict[str, Tensor]:
    """The published ImageNet weights as a state of ``EfficientNetLite`` with all stages.

    Args:
        published: state of ``efficientnet_lite_pytorch.EfficientNet``: convolutions without bias,
            each followed by batch normalisation, in the order in which they are applied.
        variant: variant of EfficientNet-Lite.
        pixel_mean, pixel_std: (3, 1, 1), with which pixels 0..255 are normalised here.
    """
    head = ("_conv_head", "_bn1", "_fc")
    kept = {name: tensor for name, tensor in published.items() if not name.startswith(head)}
    kernels = [tensor.double() for tensor in kept.values() if tensor.ndim == 4]
    norms = [name.removesuffix("running_mean") for name in kept if name.endswith("running_mean")]
    folded = EfficientNetLite(variant).state_dict()
    names = [name.removesuffix("weight") for name in folded if name.endswith("weight")]
    for index, (name, kernel, norm) in enumerate(zip(names, kernels, norms, strict=True)):
        weight, bias, mean, variance = (
            kept[norm + part].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / (variance + BATCH_NORM_EPS).sqrt()
        bias = bias - scale * mean
        if index == 0:
            offset = (pixel_mean.double() - INPUT_MEAN) / INPUT_STD
            bias = bias + scale * (kernel * offset).sum((1, 2, 3))
            kernel = kernel * pixel_std.double() / INPUT_STD
        folded[name + "weight"] = (kernel * scale[:, None, None, None]).float()
        folded[name + "bias"] = bias.float()
    return folded
