"""Training losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from samrot.errors import InputError


def prior_loss(logits: Tensor, prior: Tensor, turned_share: float = 0.0) -> Tensor:
    """Penalise poses that are unlikely in the segmenter's training data: KL(prior || prediction).

    With a prior that is one-hot at the identity (upright photos) this is the cross-entropy to the
    identity. Where a share of the photos is turned from what the prior says, by any other element
    alike, the prediction is that of the pose as it was found: what is most likely one of these
    photos then counts little (forward correction of label noise).

    Args:
        logits: (B, |G|), unnormalised evidence for each pose.
        prior: (|G|,), sums to 1, one-hot at 0 for upright photos; or (B, |G|), one of each photo.
        turned_share: share of the photos that are turned, 0 to less than 1 - 1 / |G|.

    Returns:
        Scalar, mean over B, in nats.

    Raises:
        InputError: if the group sizes differ, or the prior is not a distribution.
    Source: Mondal et al. 2023, section 4; Patrini et al. 2017 (arXiv 1609.03683), section 4.2.
    """
    if prior.shape not in (logits.shape, logits.shape[-1:]):
        raise InputError(
            f"prior has shape {tuple(prior.shape)}; expected ({logits.shape[-1]},), one "
            "probability for each pose"
        )
    if bool((prior < 0).any()) or float((prior.sum(-1) - 1.0).abs().max()) > 1e-4:
        raise InputError(
            f"prior {prior.tolist()} is not a distribution; expected non-negative numbers that sum "
            "to 1"
        )
    prior = prior.to(logits)
    log_probabilities = logits.log_softmax(-1)
    if turned_share:
        by_one = turned_share / (logits.shape[-1] - 1)
        kept = log_probabilities + math.log1p(-turned_share - by_one)
        log_probabilities = kept.logaddexp(kept.new_tensor(math.log(by_one)))
    cross_entropy = -(prior * log_probabilities).sum(-1).mean()
    return cross_entropy - torch.special.entr(prior).sum(-1).mean()


@dataclass(kw_only=True)
class MaskLossWeights:
    """How much each loss of a mask counts; the defaults are SAM's.

    Args:
        focal: focal loss (alpha 0.25, gamma 2), mean over the pixels.
        cross_entropy: binary cross-entropy, mean over the pixels.
        dice: dice loss of the whole mask.
        iou: squared error of the predicted IoU.
    Source: Kirillov et al. 2023, appendix A; Lin et al. 2017; Milletari et al. 2016.
    """

    focal: float = 20.0
    cross_entropy: float = 0.0
    dice: float = 1.0
    iou: float = 1.0

    def __post_init__(self) -> None:
        if min(self.focal, self.cross_entropy, self.dice, self.iou) < 0:
            raise InputError(f"loss is {self}; expected weights of at least 0")


def mask_losses(
    logits: Tensor, targets: Tensor, pixel_weights: Tensor, chosen: MaskLossWeights
) -> Tensor:
    """Weighted sum of focal loss, cross-entropy and dice.

    Args:
        logits: (N, h, w).
        targets: (N, h, w), 0..1.
        pixel_weights: (N, h, w), non-negative, how much each pixel counts in the first two.
        chosen: weights of the losses.

    Returns:
        (N,), per mask.
    """
    by_pixel = chosen.cross_entropy * F.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    )
    if chosen.focal:
        by_pixel = by_pixel + chosen.focal * sigmoid_focal_loss(logits, targets)
    total_weight = pixel_weights.sum((-2, -1)).clamp(min=1.0)
    by_pixel = (by_pixel * pixel_weights).sum((-2, -1)) / total_weight
    probabilities = logits.sigmoid()
    overlap = (probabilities * targets).sum((-2, -1))
    total = probabilities.sum((-2, -1)) + targets.sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return by_pixel + chosen.dice * dice


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of thresholded masks with thresholded targets, (N, h, w) each, to (N,)."""
    predicted, actual = logits > 0, targets > 0.5
    union = (predicted | actual).sum((-2, -1)).clamp(min=1)
    return (predicted & actual).sum((-2, -1)) / union


def orbit_contrastive_loss(vectors: Tensor) -> Tensor:
    """Keep the turns of a photo apart: their vectors are to be orthogonal.

    Args:
        vectors: (B, |G|, D), one for each turn of each photo.

    Returns:
        Scalar in 0..1: mean absolute cosine similarity between different turns of a photo.
    Source: Panigrahi and Mondal 2024 (arXiv 2405.14089), the loss of the optimised canonicalizer.
    """
    directions = F.normalize(vectors, dim=-1)
    similarity = (directions @ directions.transpose(1, 2)).abs()
    order = similarity.shape[-1]
    between = similarity.sum((-2, -1)) - similarity.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (between / (order * (order - 1))).mean()
