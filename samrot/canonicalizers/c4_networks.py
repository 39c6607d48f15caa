"""C4-equivariant pose networks in plain torch: a G-CNN and a residual one (G-WRN)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from samrot.layers.c4 import C4Conv2d, C4Norm, PoseHead


class GCNN(nn.Module):
    """Group-equivariant CNN: a lifting convolution, then pairs of convolutions per scale.

    Args:
        widths: fields at each scale; each scale halves the side.
        dropout: share of fields dropped before the head, in training.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32, 64), dropout: float = 0.0) -> None:
        super().__init__()
        self.size_step = 2 ** len(widths)
        layers: list[nn.Module] = [
            C4Conv2d(3, widths[0], 5, stride=2, padding=2, lifting=True),
            C4Norm(widths[0]),
            nn.ReLU(),
        ]
        for in_fields, out_fields in itertools.pairwise(widths):
            for fields, stride in ((in_fields, 2), (out_fields, 1)):
                layers += [
                    C4Conv2d(fields, out_fields, 3, stride=stride, padding=1),
                    C4Norm(out_fields),
                    nn.ReLU(),
                ]
        self.features = nn.Sequential(*layers)
        self.head = PoseHead(widths[-1], dropout)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4); S - 1 divisible by ``size_step``."""
        return self.head(self.features(images))


class C4ResidualBlock(nn.Module):
    """Pre-activation residual block of a wide residual network, on regular fields."""

    def __init__(self, in_fields: int, out_fields: int, stride: int) -> None:
        super().__init__()
        self.norm1 = C4Norm(in_fields)
        self.conv1 = C4Conv2d(in_fields, out_fields, 3, stride=stride, padding=1)
        self.norm2 = C4Norm(out_fields)
        self.conv2 = C4Conv2d(out_fields, out_fields, 3, padding=1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_fields != out_fields:
            self.shortcut = C4Conv2d(in_fields, out_fields, 1, stride=stride)

    def forward(self, fields: Tensor) -> Tensor:
        """(B, in_fields * 4, H, W) to (B, out_fields * 4, H / stride, W / stride), rounded up."""
        activated = F.relu(self.norm1(fields))
        residual = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return residual + self.shortcut(fields)


class GWRN(nn.Module):
    """Group-equivariant wide residual network.

    Args:
        widths: fields at each scale; each scale halves the side.
        blocks: residual blocks per scale.
        dropout: share of fields dropped before the head, in training.
    """

    def __init__(
        self,
        widths: Sequence[int] = (8, 16, 32, 64),
        blocks: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size_step = 2 ** len(widths)
        self.lift = C4Conv2d(3, widths[0], 5, stride=2, padding=2, lifting=True)
        layers: list[nn.Module] = [C4ResidualBlock(widths[0], widths[0], 1)]
        for in_fields, out_fields in itertools.pairwise(widths):
            layers.append(C4ResidualBlock(in_fields, out_fields, 2))
            layers += [C4ResidualBlock(out_fields, out_fields, 1) for _ in range(blocks - 1)]
        self.blocks = nn.Sequential(*layers)
        self.norm = C4Norm(widths[-1])
        self.head = PoseHead(widths[-1], dropout)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4); S - 1 divisible by ``size_step``."""
        return self.head(F.relu(self.norm(self.blocks(self.lift(images)))))
