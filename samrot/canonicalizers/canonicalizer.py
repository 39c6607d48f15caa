"""The canonicalizer: a photo in, evidence for each pose out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from samrot.canonicalizers.thumbnail import Thumbnail
from samrot.errors import InputError
from samrot.geometry.groups import C4, FiniteGroup
from samrot.geometry.pose import Pose
from samrot.scoring.conformal import conformal_set
from samrot.structures.image import check_image

# Channel means and deviations of ImageNet photographs, on the 0..255 scale.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
Content = tuple[tuple[int, ...], bytes]
Ask = Callable[[Sequence[np.ndarray]], Tensor]  # N images to (N, K)


def of_each_once(
    ask: Ask,
    images: Sequence[np.ndarray],
    known: Mapping[Content, Tensor] | None = None,
) -> Tensor:
    """Ask about different images together, and about equal ones once.

    Rows of a batch may differ in the last bit though the images are equal; asked once, they cannot.

    Args:
        ask: N images to (N, K).
        images: at least one.
        known: what was answered before, (K,), by content.

    Returns:
        (N, K), a row for each image.
    """
    contents = [content_of(image) for image in images]
    answers = dict(known or {})
    asked = {c: image for c, image in zip(contents, images, strict=True) if c not in answers}
    if asked:
        answers.update(zip(asked, ask(list(asked.values())), strict=True))
    return torch.stack([answers[content] for content in contents])


def content_of(image: np.ndarray) -> Content:
    """What equal images, and no others, have in common."""
    return image.shape, image.tobytes()


class Canonicalizer(nn.Module):
    """A network that obeys the law of its group, behind a thumbnail that commutes with D4.

    A subclass that knows more says so in ``estimate_many`` and ``estimate_each``, on which all
    other methods that give poses rest.

    Law: ``logits(g x)[h] == logits(x)[g^-1 h]``, for C4 ``roll(logits(x), k)``; Mondal et al. 2023,
    section 3. The logits of a photo are the mean over the views of its thumbnail, plus what its
    aspect ratio tells.

    Args:
        network: (B, 3, S, S) normalised thumbnails to (B, |G|) logits.
        thumbnail: what the network is shown of a photo.
        group: the group by whose elements the evidence is indexed.
        mirror_average: add, at inference, the evidence of the mirror image, which is upright when
            the photo is. A mirror turns a rotation into its inverse, so the law of a cyclic group
            is kept; the two hands of D4 would tie.
        mirror_below: the mirror image of a photo is asked where no pose is likelier than this
            without it; at 1 always.
        aspect_log_odds: evidence for "upright or upside down" from a photo that is wider than high,
            and for a quarter turn from one that is higher than wide; 0 hides the aspect ratio.

    Raises:
        InputError: if the mirror average is asked for in a group that tells mirror images apart.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    trained_on: np.ndarray | None = None  # (N,) uint64, fingerprints of photos; None: not known
    set_threshold: float | None = None  # probability at which a pose enters the set; None: unknown

    def __init__(
        self,
        network: nn.Module,
        thumbnail: Thumbnail,
        *,
        group: FiniteGroup = C4,
        mirror_average: bool = True,
        mirror_below: float = 1.0,
        aspect_log_odds: float = 0.0,
    ) -> None:
        super().__init__()
        if mirror_average and group.has_mirrors:
            raise InputError(
                f"mirror_average is true for {group.name}, whose mirror images would tie; set it "
                "to false"
            )
        self.network = network
        self.thumbnail = thumbnail
        self.group = group
        self.mirror_average = mirror_average
        self.mirror_below = mirror_below
        self.aspect_log_odds = aspect_log_odds
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN)[:, None, None], False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD)[:, None, None], False)

    def normalise(self, thumbnails: Tensor) -> Tensor:
        """Pixels 0..255, (B, 3, S, S), to what the network takes."""
        return (thumbnails.to(self.pixel_mean) - self.pixel_mean) / self.pixel_std

    def forward(self, images: Tensor) -> Tensor:
        """Pose logits, (B, |G|), of images, (B, 3, H, W), pixels 0..255.

        What is not (B, 3, S, S) is sampled to thumbnails first. In training mode the mirror image
        is not asked.
        """
        size = self.thumbnail.size
        if tuple(images.shape[-2:]) != (size, size):
            images = self.thumbnail.of_tensor(images)
        images = self.normalise(images)
        if self.training or not self.mirror_average:
            return self.network(images)
        return (self.network(images) + self.mirrored_evidence(images)) / 2

    def mirrored_evidence(self, images: Tensor) -> Tensor:
        """The evidence, (B, |G|), that the mirror images of normalised thumbnails hold."""
        return self.group.mirror_logits(self.network(images.flip(-1)))

    def aspect_signs(self) -> Tensor:
        """(|G|,) 1 for elements that keep the axes, -1 for those that swap them."""
        x_axes = np.abs(self.group.matrices[:, 0])
        return torch.from_numpy(x_axes[:, 0] - x_axes[:, 1]).to(self.pixel_mean)

    def logits(self, image: np.ndarray) -> Tensor:
        """Pose logits of one photo; the module is put into evaluation mode.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1 x 1.

        Returns:
            (|G|,) in the dtype and on the device of the module.

        Raises:
            InputError: if the image is not of that layout, or a logit is not finite.
        """
        return self.logits_of([image])[0]

    @torch.no_grad()
    def logits_of(self, images: Sequence[np.ndarray]) -> Tensor:
        """Pose logits of photos that the network is given together; as ``logits`` of each.

        How many they are may show in the last bits, as of every network.

        Args:
            images: at least one, each (H, W, 3) uint8 RGB, of any sizes.

        Returns:
            (N, |G|) in the dtype and on the device of the module.

        Raises:
            InputError: as ``logits``; or if there is no image.
        """
        self.eval()  # dropout would make poses random
        views, num_views = self.views_of(images, self.thumbnail)
        widths_over_heights = [np.sign(image.shape[1] - image.shape[0]) for image in images]
        leaning = self.aspect_log_odds / 2 * torch.tensor(widths_over_heights).to(views)
        aspect = leaning[:, None] * self.aspect_signs()
        logits = self.network(views).unflatten(0, (-1, num_views)).mean(dim=1) + aspect
        if self.mirror_average:
            asked = logits.softmax(dim=1).amax(dim=1) <= self.mirror_below
            if bool(asked.any()):
                mirrored = self.mirrored_evidence(views[asked.repeat_interleave(num_views)])
                mirrored = mirrored.unflatten(0, (-1, num_views)).mean(dim=1) + aspect[asked]
                logits[asked] = (logits[asked] + mirrored) / 2
        damaged = ~torch.isfinite(logits).all(dim=1)
        if bool(damaged.any()):
            raise InputError(
                f"the canonicalizer's logits are {logits[damaged][0].tolist()}; expected finite "
                "numbers: its weights are damaged, train or load it again"
            )
        return logits

    def views_of(self, images: Sequence[np.ndarray], thumbnail: Thumbnail) -> tuple[Tensor, int]:
        """What a network is shown of photos: (N V, 3, S, S) normalised, and V, views of each.

        Raises:
            InputError: if there is no image, or one is not (H, W, 3) uint8.
        """
        if len(images) == 0:
            raise InputError("images holds no photo; expected at least one")
        for image in images:
            check_image(image)
        views = np.stack([thumbnail(image) for image in images])
        pixels = torch.from_numpy(views).to(self.pixel_mean.device).flatten(0, 1)
        return self.normalise(pixels), views.shape[1]

    def estimate(self, image: np.ndarray) -> Pose:
        """The most likely pose of one photo, (H, W, 3) uint8 RGB, with its probabilities."""
        return self.estimate_many([image])

    def estimate_each(self, images: Sequence[np.ndarray]) -> list[Pose]:
        """The most likely pose of each of some photos, which the network is given together.

        Args:
            images: each (H, W, 3) uint8 RGB, of any sizes.
        """
        if len(images) == 0:
            return []
        return [self.likeliest(evidence) for evidence in self.logits_of(images).double()]

    def estimate_many(self, images: Sequence[np.ndarray]) -> Pose:
        """The one pose of photos that share it: a burst, the frames of a clip, crops of a photo.

        Their evidence is summed, as if each told independently of the others; turned together, the
        photos keep the law. They are never quite independent, so that the probability is too sure
        of itself. Not for photos of which some may be turned otherwise.

        Args:
            images: at least one, each (H, W, 3) uint8 RGB, of any sizes.

        Raises:
            InputError: if there is none, or one is not of that layout.
        """
        return self.likeliest(self.evidence_of(images))

    def evidence_of(self, images: Sequence[np.ndarray]) -> Tensor:
        """The evidence, (|G|,) float64, of photos that share a pose; as ``estimate_many``."""
        return self.summed_evidence([self.logits(image) for image in images])

    def likeliest(self, evidence: Tensor) -> Pose:
        """The pose that evidence, (|G|,) float64, speaks for, with its probabilities."""
        probabilities = evidence.softmax(0).cpu().numpy()
        return Pose.of_element(self.group, int(evidence.argmax()), probabilities)

    @staticmethod
    def summed_evidence(evidence: Sequence[Tensor]) -> Tensor:
        """The sum, (K,) float64, of the evidence, (K,), of each photo, whatever their order.

        Raises:
            InputError: if there is none.
        """
        if len(evidence) == 0:
            raise InputError("images holds no photo; expected at least one")
        # Sorted, so that the order does not show in the last bit.
        return torch.stack([each.double() for each in evidence]).sort(dim=0).values.sum(dim=0)

    def pose(self, image: np.ndarray) -> int:
        """The element of D4 that most likely moved this photo, (H, W, 3) uint8 RGB."""
        return self.estimate(image).element

    def pose_set(self, image: np.ndarray) -> tuple[int, ...]:
        """The elements of the group between which a photo, (H, W, 3) uint8 RGB, leaves a choice.

        The likeliest first. They hold the true one for 98 of 100 photos like those that the
        threshold was calibrated on.

        Raises:
            InputError: if no threshold was calibrated.
        """
        if self.set_threshold is None:
            raise InputError(
                "the canonicalizer has no threshold for sets of poses; take the one that samrot "
                "diagnose reports for photos kept aside (pose_sets), and set set_threshold to it"
            )
        probabilities = self.logits(image).double().softmax(0).cpu().numpy()
        return conformal_set(probabilities, self.set_threshold)
