"""Training losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from samrot.errors import InputError


def prior_loss(logits: Tensor, prior: Tensor) -> Tensor:
    """Penalise poses that are unlikely in the segmenter's training data: KL(prior || prediction).

    With a prior that is one-hot at the identity (upright photos) this is the cross-entropy to the
    identity.

    Args:
        logits: (B, |G|), unnormalised evidence for each pose.
        prior: (|G|,), sums to 1; one-hot at 0 for upright photos.

    Returns:
        Scalar, mean over B, in nats.

    Raises:
        InputError: if the group sizes differ, or the prior is not a distribution.
    Source: Mondal et al. 2023, section 4.
    """
    if prior.shape != logits.shape[-1:]:
        raise InputError(
            f"prior has shape {tuple(prior.shape)}; expected ({logits.shape[-1]},), one "
            "probability for each pose"
        )
    if bool((prior < 0).any()) or abs(float(prior.sum()) - 1.0) > 1e-4:
        raise InputError(
            f"prior {prior.tolist()} is not a distribution; expected non-negative numbers that sum "
            "to 1"
        )
    prior = prior.to(logits)
    cross_entropy = -(prior * logits.log_softmax(-1)).sum(-1).mean()
    return cross_entropy - torch.special.entr(prior).sum()


def mask_losses(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy where it matters, plus dice.

    Args:
        logits: (N, h, w).
        targets: (N, h, w), 0..1.
        weights: (N, h, w), non-negative, how much each pixel counts in the cross-entropy.

    Returns:
        (N,), per mask.
    Source: dice as in Milletari et al. 2016.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    cross_entropy = (cross_entropy * weights).sum((-2, -1)) / weights.sum((-2, -1)).clamp(min=1.0)
    probabilities = logits.sigmoid()
    overlap = (probabilities * targets).sum((-2, -1))
    total = probabilities.sum((-2, -1)) + targets.sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return cross_entropy + dice


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of thresholded masks with thresholded targets, (N, h, w) each, to (N,)."""
    predicted, actual = logits > 0, targets > 0.5
    union = (predicted | actual).sum((-2, -1)).clamp(min=1)
    return (predicted & actual).sum((-2, -1)) / union
