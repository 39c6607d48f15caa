"""The way through for a batch of images in training: a pose chosen hard, with a gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from samrot.geometry.groups import FiniteGroup
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose


def straight_through(logits: Tensor) -> Tensor:
    """The most likely pose, one-hot, with the gradient of the probabilities.

    Args:
        logits: (B, |G|).

    Returns:
        (B, |G|).
    Source: Bengio et al. 2013; for poses, Kaba et al. 2023.
    """
    probabilities = logits.softmax(dim=-1)
    chosen = F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(probabilities)
    return chosen + (probabilities - probabilities.detach())


def canonical_images(images: Tensor, logits: Tensor, group: FiniteGroup) -> Tensor:
    """Images moved back by their most likely poses; each keeps its size, its edge repeated.

    Args:
        images: (B, 3, S, S) float.
        logits: (B, |G|) evidence for each pose; its gradient is that of the probabilities.
        group: the group.

    Returns:
        (B, 3, S, S).
    """
    size_hw = (images.shape[-2], images.shape[-1])
    moved_back = [
        PlaneTransform.to_canonical(Pose.of_element(group, g), size_hw).logits(images, fill=None)
        for g in range(group.order)
    ]
    chosen = straight_through(logits)[:, :, None, None, None]
    return (chosen * torch.stack(moved_back, 1)).sum(dim=1)


def walk_images(
    images: Tensor, logits: Tensor, network: Callable[[Tensor], Tensor], group: FiniteGroup
) -> Tensor:
    """Run a network on the canonical images; its scores are the same in every frame.

    Args:
        images, logits, group: as in ``canonical_images``.
        network: (B, 3, S, S) to scores, (B, K).
    """
    return network(canonical_images(images, logits, group))
