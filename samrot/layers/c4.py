"""C4-equivariant layers in plain torch (Cohen & Welling 2016, group equivariant convolutions).

A feature map of C regular fields is a tensor (B, C * 4, H, W); channel c * 4 + r is field c seen in
orientation r. Law of every layer: turning the input by k turns the output's planes by k and rolls
their orientation axis by k.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.geometry.groups import C4
from samrot.layers.frozen import made_once


class C4Conv2d(nn.Module):
    """Convolution of regular fields, with one filter bank for all four orientations.

    Args:
        in_fields: fields of the input; channels, if ``lifting``.
        out_fields: fields of the output.
        kernel_size, stride, padding: as in ``nn.Conv2d``. A strided convolution commutes with
            quarter turns only if (size + 2 * padding - kernel_size) % stride == 0.
        lifting: the input is an image (B, in_fields, H, W), not yet fields.
    """

    def __init__(
        self,
        in_fields: int,
        out_fields: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        lifting: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.kernel_size = stride, padding, kernel_size
        in_orientations = 1 if lifting else C4.order
        self.weight = nn.Parameter(
            torch.empty(out_fields, in_fields, in_orientations, kernel_size, kernel_size)
        )
        fan_in = in_fields * in_orientations * kernel_size**2
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / fan_in))

    def filter_bank(self) -> Tensor:
        """(out_fields * 4, in_fields * in_orientations, k, k): the filters, turned and rolled."""
        out_fields, in_fields, in_orientations, k, _ = self.weight.shape
        turned = [
            torch.rot90(self.weight, r, (-2, -1)).roll(r if in_orientations > 1 else 0, dims=2)
            for r in range(C4.order)
        ]
        return torch.stack(turned, dim=1).reshape(out_fields * 4, in_fields * in_orientations, k, k)

    def forward(self, fields: Tensor) -> Tensor:
        """(B, in_fields * orientations, H, W) to (B, out_fields * 4, H', W').

        Raises:
            ValueError: if the stride would leave the windows off centre.
        """
        height, width = fields.shape[-2:]
        overhang = [
            (s + 2 * self.padding - self.kernel_size) % self.stride for s in (height, width)
        ]
        if any(overhang):
            raise ValueError(
                f"a {height}x{width} input leaves a stride-{self.stride} window off centre, which "
                f"breaks C4; expected (size + 2 * {self.padding} - {self.kernel_size}) to divide"
            )
        bank = made_once(self, self.weight, self.filter_bank)
        return F.conv2d(fields, bank, stride=self.stride, padding=self.padding)


class C4Norm(nn.Module):
    """Group normalisation over up to 4 whole fields; one scale and shift per field."""

    def __init__(self, num_fields: int) -> None:
        super().__init__()
        # A group must not end inside a field: its orientations would be scaled differently.
        self.num_groups = num_fields // math.gcd(num_fields, 4)
        self.weight = nn.Parameter(torch.ones(num_fields))
        self.bias = nn.Parameter(torch.zeros(num_fields))

    def forward(self, fields: Tensor) -> Tensor:
        """(B, num_fields * 4, H, W) to the same."""
        weight = self.weight.repeat_interleave(C4.order)
        bias = self.bias.repeat_interleave(C4.order)
        return F.group_norm(fields, self.num_groups, weight, bias)


class PoseHead(nn.Module):
    """Fields, (B, C * 4, H, W), to pose logits, (B, 4), which roll as the input turns."""

    def __init__(self, num_fields: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout1d(dropout)  # drops whole fields, so the law holds in training too
        self.linear = C4Conv2d(num_fields, 1, 1)

    def forward(self, fields: Tensor) -> Tensor:
        """(B, num_fields * 4, H, W) to (B, 4)."""
        pooled = fields.mean(dim=(-2, -1)).unflatten(1, (-1, C4.order))
        return self.linear(self.dropout(pooled).flatten(1)[..., None, None]).flatten(1)
