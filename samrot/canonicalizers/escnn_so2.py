"""A network steerable by all rotations, of which escnn makes the filters: a vector says the angle.

Its last layer is one vector field, whose mean turns with the photo; where it points is the angle of
the photo (as in the steerable canonicalizer of equiadapt). Training needs escnn; the exported
network, and so every checkpoint, holds plain convolutions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samrot.canonicalizers.canonicalizer import Canonicalizer, content_of, of_each_once
from samrot.canonicalizers.tilt import TiltEstimate, TiltRule, disc, moved_back
from samrot.errors import InputError
from samrot.geometry import exact
from samrot.geometry.groups import D4
from samrot.geometry.pose import Pose, factor_angle

FREQUENCIES = (1, 2, 3)  # of the vector fields between the layers
_NORM_EPS = 1e-5
# (fields in, gated fields out or 0 for the one vector at the end, kernel size) -> convolution.
MakeConv = Callable[[int, int, int], nn.Module]


class GatedNorm(nn.Module):
    """Scalars through ReLU, vectors through gates that scalars open; each kind to unit size first.

    Args:
        width: fields of each kind: scalars, and vectors of each frequency.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        kinds = 1 + len(FREQUENCIES)
        self.gain = nn.Parameter(torch.ones(kinds * width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(kinds * width, 1, 1))

    def forward(self, fields: Tensor) -> Tensor:
        """(B, scalars, gates, vectors; H, W) to (B, scalars, vectors; H, W)."""
        kinds = 1 + len(FREQUENCIES)
        scalars, vectors = fields.split([kinds * self.width, 2 * (kinds - 1) * self.width], dim=1)
        opened = _to_unit_size(scalars) * self.gain + self.bias
        gates = opened[:, self.width :].sigmoid().repeat_interleave(2, dim=1)
        by_frequency = [_to_unit_size(some) for some in vectors.chunk(kinds - 1, dim=1)]
        return torch.cat([F.relu(opened[:, : self.width]), torch.cat(by_frequency, 1) * gates], 1)


def _to_unit_size(fields: Tensor) -> Tensor:
    return fields * (fields.square().mean((1, 2, 3), keepdim=True) + _NORM_EPS).rsqrt()


class PlainVectors(nn.Module):
    """What ``EscnnVectors.export`` makes: plain torch, the same numbers.

    Args:
        widths: fields of each kind at each scale; each scale halves the side.
        make_conv: makes the convolutions; by default plain ones.
    """

    def __init__(
        self, widths: Sequence[int] = (4, 8, 12, 16), make_conv: MakeConv | None = None
    ) -> None:
        super().__init__()
        make_conv = make_conv or _plain_conv
        self.widths, self.size_step = tuple(widths), 2 ** len(widths)
        layers: list[nn.Module] = [make_conv(0, widths[0], 7), GatedNorm(widths[0]), _pool()]
        for in_width, out_width in itertools.pairwise(widths):
            for width in (in_width, out_width):
                layers += [make_conv(width, out_width, 5), GatedNorm(out_width)]
            layers.append(_pool())
        self.layers = nn.Sequential(*layers)
        self.head = make_conv(widths[-1], 0, 1)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4) evidence for the quarter turns; S - 1 divisible by ``size_step``.

        They are what a vector v has along the four axes: (v_x, v_y, -v_x, -v_y), so that the second
        over the first is the tangent of the angle, and their size how sure it is.
        """
        fields = self.head(self.layers(images * disc(images)))
        vector = self.scale * fields.mean((-2, -1))
        return torch.cat([vector, -vector], dim=1)


class EscnnVectors(PlainVectors):
    """The same network with filters of escnn, for training.

    Args:
        widths: as in ``PlainVectors``.

    Raises:
        InputError: if escnn is absent or broken; the message says how to install it.
    """

    def __init__(self, widths: Sequence[int] = (4, 8, 12, 16)) -> None:
        super().__init__(widths, _steerable_convs())

    @torch.no_grad()
    def export(self) -> PlainVectors:
        """The network as it is now, in plain torch."""
        plain = PlainVectors(self.widths)
        self.eval()
        own = dict(self.named_modules())
        for name, module in plain.named_modules():
            if isinstance(module, nn.Conv2d):
                module.load_state_dict(own[name].conv.export().state_dict())
            elif isinstance(module, GatedNorm):
                module.load_state_dict(own[name].state_dict())
        plain.scale.copy_(self.scale)
        return plain.eval()


class VectorCanonicalizer(Canonicalizer):
    """A canonicalizer whose evidence is a vector that turns with the photo, by any angle.

    Args:
        rule: how small a tilt is taken to be 0.
        kwargs: as of ``Canonicalizer``.
    """

    def __init__(self, *args: Any, rule: TiltRule, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = rule

    def estimate_many(self, images: Sequence[np.ndarray]) -> Pose:
        """The pose of photos that share it: quarter turn, tilt, and its spread.

        The spread is that of a von Mises distribution as concentrated as the vector is long.
        """
        evidence = self.evidence_of(images)
        pose = self.likeliest(evidence)
        if pose.element != 0:
            # Asked of the photo turned back, all exact turns share the tilt to the bit.
            undo = D4.inverse(pose.element)
            evidence = self.evidence_of([exact.move_image(image, undo) for image in images])
        return self._tilted(pose, evidence)

    def estimate_each(self, images: Sequence[np.ndarray]) -> list[Pose]:
        """See ``Canonicalizer``; exact turns of a photo among them share the tilt to the bit."""
        if len(images) == 0:
            return []
        logits = self.logits_of(images)
        poses = [self.likeliest(evidence) for evidence in logits.double()]
        upright = {
            content_of(image): row
            for image, row, pose in zip(images, logits, poses, strict=True)
            if pose.element == 0
        }
        asked = of_each_once(self.logits_of, moved_back(images, poses), upright).double()
        return [self._tilted(*pair) for pair in zip(poses, asked, strict=True)]

    def _tilted(self, pose: Pose, evidence: Tensor) -> Pose:
        along, across = evidence[:2].tolist()
        _, tilt_deg = factor_angle(float(np.rad2deg(np.arctan2(across, along))))
        found = TiltEstimate(tilt_deg, spread_deg(np.hypot(along, across)), share=1.0)
        return Pose(pose.element, self.rule.believed(found), pose.probabilities, found.spread_deg)


def spread_deg(concentration: float) -> float:
    """Circular standard deviation, degrees, of a von Mises distribution."""
    kappa = torch.tensor(concentration, dtype=torch.float64)
    length = torch.special.i1e(kappa) / torch.special.i0e(kappa)
    return float(torch.rad2deg(torch.sqrt(-2 * torch.log(length.clamp(min=1e-12)))))


def _pool() -> nn.Module:
    # Odd sides stay odd, and their middle stays where it is.
    return nn.AvgPool2d(3, stride=2, padding=1)


def _channels(width: int, *, gates: bool) -> int:
    kinds = len(FREQUENCIES)
    return width * (1 + 2 * kinds + (kinds if gates else 0))


def _plain_conv(in_width: int, out_width: int, kernel_size: int) -> nn.Module:
    in_channels = _channels(in_width, gates=False) if in_width else 3
    out_channels = _channels(out_width, gates=True) if out_width else 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)


class _Steered(nn.Module):
    """A convolution of escnn that takes and gives tensors."""

    def __init__(self, conv: Any, wrap: Any) -> None:
        super().__init__()
        self.conv, self.wrap = conv, wrap

    def forward(self, fields: Tensor) -> Tensor:
        return self.conv(self.wrap(fields, self.conv.in_type)).tensor


def _steerable_convs() -> MakeConv:
    try:
        from escnn import gspaces
        from escnn import nn as enn
    except ImportError as error:
        raise InputError(
            f"escnn cannot be imported ({error}); it is needed to train 'escnn_so2': "
            "pip install 'samrot[escnn]' && pip install --no-deps escnn==1.0.11 lie_learn==0.0.2"
        ) from error
    space = gspaces.rot2dOnR2(-1, maximum_frequency=max(FREQUENCIES))
    trivial, vector = space.trivial_repr, {f: space.irrep(f) for f in FREQUENCIES}

    def fields(width: int, *, gates: bool) -> Any:
        scalars = width * (1 + (len(FREQUENCIES) if gates else 0))
        vectors = [vector[f] for f in FREQUENCIES for _ in range(width)]
        return enn.FieldType(space, scalars * [trivial] + vectors)

    def make(in_width: int, out_width: int, kernel_size: int) -> nn.Module:
        image, pose = enn.FieldType(space, 3 * [trivial]), enn.FieldType(space, [vector[1]])
        conv = enn.R2Conv(
            fields(in_width, gates=False) if in_width else image,
            fields(out_width, gates=True) if out_width else pose,
            kernel_size,
            padding=kernel_size // 2,
            bias=False,
        )
        return _Steered(conv, enn.GeometricTensor)

    return make
