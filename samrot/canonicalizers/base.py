"""The canonicalizer: a photo in, evidence for each pose out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.errors import InputError
from samrot.geometry.groups import C4

# Channel means and deviations of ImageNet photographs, on the 0..255 scale.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class PosePrediction:
    """How a canonicalizer judged one image.

    Args:
        pose: group element k; the image looks like a canonical one turned by k x 90 degrees CCW.
        probabilities: (|G|,) float64, sums to 1.
    """

    pose: int
    probabilities: np.ndarray


class Canonicalizer(nn.Module):
    """A network that obeys the roll law, behind a thumbnail that commutes with quarter turns.

    Law: ``logits(rot90(x, k)) == roll(logits(x), k)``; Mondal et al. 2023, section 3. The logits of
    a photo are the mean over the views of its thumbnail, plus what its aspect ratio tells.

    Args:
        network: (B, 3, S, S) normalised thumbnails to (B, |G|) logits.
        thumbnail: what the network is shown of a photo.
        mirror_average: add the evidence of the mirror image, which is upright when the photo is.
            A mirror turns a rotation by k into one by -k, so the roll law is kept.
        aspect_log_odds: evidence for "upright or upside down" from a photo that is wider than high,
            and for a quarter turn from one that is higher than wide; 0 hides the aspect ratio.
    """

    group = C4
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        thumbnail: Thumbnail,
        *,
        mirror_average: bool = True,
        aspect_log_odds: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.thumbnail = thumbnail
        self.mirror_average = mirror_average
        self.aspect_log_odds = aspect_log_odds
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN)[:, None, None], False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD)[:, None, None], False)

    def normalise(self, thumbnails: Tensor) -> Tensor:
        """Pixels 0..255, (B, 3, S, S), to what the network takes."""
        return (thumbnails.to(self.pixel_mean) - self.pixel_mean) / self.pixel_std

    def forward(self, thumbnails: Tensor) -> Tensor:
        """Pose logits of thumbnails.

        Args:
            thumbnails: (B, 3, S, S), pixels 0..255.

        Returns:
            (B, |G|).
        """
        images = self.normalise(thumbnails)
        if not self.mirror_average:
            return self.network(images)
        logits, mirrored = self.network(torch.cat([images, images.flip(-1)])).chunk(2)
        inverse = [self.group.inverse(g) for g in range(self.group.order)]
        return (logits + mirrored[:, inverse]) / 2

    @torch.no_grad()
    def logits(self, image: np.ndarray) -> Tensor:
        """Pose logits of one photo.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1 x 1.

        Returns:
            (|G|,) in the dtype and on the device of the module.

        Raises:
            InputError: if the image is not of that layout.
        """
        check_image(image)
        views = torch.from_numpy(self.thumbnail(image)).to(self.pixel_mean.device)
        height, width = image.shape[:2]
        leaning = self.aspect_log_odds / 2 * np.sign(width - height)
        aspect = torch.tensor([leaning, -leaning, leaning, -leaning])
        return self(views).mean(dim=0) + aspect.to(self.pixel_mean)

    def predict(self, image: np.ndarray) -> PosePrediction:
        """Pose and probabilities of one photo, (H, W, 3) uint8 RGB."""
        logits = self.logits(image).double()
        return PosePrediction(int(logits.argmax()), logits.softmax(0).cpu().numpy())

    def pose(self, image: np.ndarray) -> int:
        """The group element k that most likely turned this photo, (H, W, 3) uint8 RGB."""
        return self.predict(image).pose


def check_image(image: object) -> None:
    """Refuse anything that is not an (H, W, 3) uint8 array with at least one pixel.

    Raises:
        InputError
    """
    remedy = "pass an RGB array, for example samrot.read_image(path)"
    if not isinstance(image, np.ndarray):
        raise InputError(f"image is a {type(image).__name__}; expected a numpy array; {remedy}")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"image has shape {image.shape}; expected (H, W, 3), not empty; {remedy}")
    if image.dtype != np.uint8:
        raise InputError(f"image has dtype {image.dtype}; expected uint8; {remedy}")
