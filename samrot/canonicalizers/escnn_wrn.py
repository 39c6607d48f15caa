"""The escnn-built wide residual canonicalizer of the paper, which exports to plain torch.

Training needs escnn (its steerable filter bases); the exported network, and so every checkpoint,
holds plain convolutions, and inference needs torch alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.canonicalizers.tilt import disc
from samrot.errors import InputError
from samrot.geometry.groups import C4, FiniteGroup


class PlainBlock(nn.Module):
    """Residual block of the exported network; channels are 4 per regular field."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride), rounded up."""
        residual = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return residual + self.shortcut(x)


class PlainWRN(nn.Module):
    """What ``EscnnWRN.export`` makes: plain torch, the same numbers.

    Args:
        widths: regular fields at each scale; each scale halves the side.
        group: C4, C8 or C16; where it is not C4, images are cut to their disc.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32, 64), group: FiniteGroup = C4) -> None:
        super().__init__()
        self.group, self.size_step = group, 2 ** len(widths)
        channels = [group.order * width for width in widths]
        self.lift = nn.Conv2d(3, channels[0], 5, 2, 2, bias=False)
        blocks = [PlainBlock(channels[0], channels[0], 1)]
        blocks += [PlainBlock(a, b, 2) for a, b in itertools.pairwise(channels)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.head = nn.Conv2d(channels[-1], group.order, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, |G|); S - 1 divisible by ``size_step``."""
        features = F.relu(self.norm(self.blocks(self.lift(_seen(images, self.group)))))
        return self.head(features.mean((-2, -1), keepdim=True)).flatten(1)


def _seen(images: Tensor, group: FiniteGroup) -> Tensor:
    """Images, (B, 3, S, S), without what an element of the group would move out of the square."""
    return images if group.is_exact else images * disc(images)


class EscnnWRN(nn.Module):
    """The same network in escnn, for training.

    Args:
        widths, group: as in ``PlainWRN``.

    Raises:
        InputError: if escnn is absent or broken; the message says how to install it.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32, 64), group: FiniteGroup = C4) -> None:
        super().__init__()
        enn, space = _import_escnn(group)
        self.widths, self.group = tuple(widths), group
        self.size_step = 2 ** len(widths)
        image = enn.FieldType(space, 3 * [space.trivial_repr])
        fields = [enn.FieldType(space, width * [space.regular_repr]) for width in widths]
        pose = enn.FieldType(space, [space.regular_repr])
        self.image_type = image
        self.lift = _conv(enn, image, fields[0], 5, 2)
        blocks = [_EscnnBlock(enn, fields[0], fields[0], 1)]
        blocks += [_EscnnBlock(enn, a, b, 2) for a, b in itertools.pairwise(fields)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = enn.InnerBatchNorm(fields[-1])
        self.relu = enn.ReLU(fields[-1])
        self.head = _conv(enn, fields[-1], pose, 1, 1)
        self._wrap = enn.GeometricTensor

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, |G|); S - 1 divisible by ``size_step``."""
        seen = self._wrap(_seen(images, self.group), self.image_type)
        features = self.relu(self.norm(self.blocks(self.lift(seen))))
        pooled = features.tensor.mean((-2, -1), keepdim=True)
        return self.head(self._wrap(pooled, features.type)).tensor.flatten(1)

    @torch.no_grad()
    def export(self) -> PlainWRN:
        """The network as it is now, in plain torch."""
        plain = PlainWRN(self.widths, self.group)
        self.eval()
        pairs: list[tuple[nn.Module, Any]] = [
            (plain.lift, self.lift),
            (plain.norm, self.norm),
            (plain.head, self.head),
        ]
        for plain_block, block in zip(plain.blocks, self.blocks, strict=True):
            for name, part in block.named_children():
                target = getattr(plain_block, name, None)
                if target is not None and not isinstance(target, nn.Identity):
                    pairs.append((target, part))
        for target, part in pairs:
            target.load_state_dict(part.export().state_dict())
        return plain.eval()


class _EscnnBlock(nn.Module):
    def __init__(self, enn: Any, in_type: Any, out_type: Any, stride: int) -> None:
        super().__init__()
        self.norm1 = enn.InnerBatchNorm(in_type)
        self.relu1 = enn.ReLU(in_type)
        self.conv1 = _conv(enn, in_type, out_type, 3, stride)
        self.norm2 = enn.InnerBatchNorm(out_type)
        self.relu2 = enn.ReLU(out_type)
        self.conv2 = _conv(enn, out_type, out_type, 3, 1)
        if stride != 1 or in_type != out_type:
            self.shortcut = _conv(enn, in_type, out_type, 1, stride)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Any) -> Any:
        residual = self.conv2(self.relu2(self.norm2(self.conv1(self.relu1(self.norm1(x))))))
        return residual + self.shortcut(x)


def _conv(enn: Any, in_type: Any, out_type: Any, kernel_size: int, stride: int) -> Any:
    return enn.R2Conv(
        in_type, out_type, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )


def _import_escnn(group: FiniteGroup) -> tuple[Any, Any]:
    try:
        from escnn import gspaces
        from escnn import nn as enn
    except ImportError as error:
        raise InputError(
            f"escnn cannot be imported ({error}); it is needed to train 'escnn_wrn': "
            "pip install 'samrot[escnn]' && pip install --no-deps escnn==1.0.11 lie_learn==0.0.2"
        ) from error
    return enn, gspaces.rot2dOnR2(group.order)
