"""What a predictor knows of the image that it is set to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from samrot.canonicalizers import Canonicalizer
from samrot.errors import InputError, NoImageError, check_choice
from samrot.geometry.groups import C4, D4
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.object_frames import EncodedRows, encode_objects
from samrot.robust.orbit import choose
from samrot.robust.pipeline import CanonicalImage, Pipeline
from samrot.segmenters import Segmenter, move_encoding
from samrot.structures.prompts import Prompts

FRAMES = ("user", "canonical")
MOST_KEPT = 8  # encodings in the frames of rotated boxes


@dataclass(frozen=True, eq=False)
class PredictorState:
    """What ``RobustPredictor.get_state`` hands out: keep it, pickle it, and set it again.

    Args:
        weighted: the photo, encoded in each frame that it may lie in, with its log weight; one
            where the pose is known.
        photo: (H, W, 3) uint8 RGB, as it was given; None where it was given resized.
        objects: the photo, encoded in the frames of rotated boxes, by the change of frame.
        encoder_passes: photos encoded for it so far.
    """

    weighted: tuple[tuple[CanonicalImage, float], ...]
    photo: np.ndarray | None = None
    objects: Mapping[PlaneTransform, CanonicalImage] = field(default_factory=dict)
    encoder_passes: int = 1


class ImageState:
    """The current image: its pose, its sizes, its embedding; as ``SamPredictor`` names them.

    Args:
        segmenter: what encoded it.
        canonicalizer: what estimates its pose, if anything does.
    """

    def __init__(self, segmenter: Segmenter, canonicalizer: Canonicalizer | None) -> None:
        self._segmenter = segmenter
        self._group = C4 if canonicalizer is None else canonicalizer.group
        self._state: PredictorState | None = None

    @property
    def current_pose(self) -> Pose:
        """The pose of the current image, all of it; NoImageError before ``set_image``."""
        return self._image.frame.pose

    @property
    def pose(self) -> int:
        """The element of D4 that moved the current image; NoImageError before ``set_image``."""
        return self.current_pose.element

    @property
    def tilt_deg(self) -> float:
        """The tilt of the current image, degrees, undone or not; as ``pose``."""
        return self.current_pose.tilt_deg

    @property
    def pose_confidence(self) -> float:
        """The probability of the pose, 1 where it was given; as ``pose``."""
        return self.current_pose.confidence

    @property
    def encoder_passes(self) -> int:
        """How often the current image was encoded so far; NoImageError before ``set_image``.

        Once, or once for each pose between which the segmenter decides; and once more for each
        frame of rotated boxes, of which a call makes at most three.
        """
        return self._require_state().encoder_passes

    @property
    def pose_probabilities(self) -> np.ndarray:
        """(|G|,) float64; one-hot where the pose was given. NoImageError before ``set_image``."""
        pose = self.current_pose
        if pose.probabilities is not None:
            return pose.probabilities
        group = self._group
        return np.eye(group.order if pose.element < group.order else D4.order)[pose.element]

    @property
    def features(self) -> Tensor | None:
        """The embedding of the current image, as ``SamPredictor.features``; None without one.

        None may be assigned, which forgets the image; for caches see ``get_state``.
        """
        return self.get_image_embedding() if self.is_image_set else None

    @features.setter
    def features(self, value: None) -> None:
        if value is not None:
            raise refusal("features")
        self.reset_image()

    @property
    def is_image_set(self) -> bool:
        """Whether ``predict`` may be called; False may be assigned, which forgets the image."""
        return self._state is not None

    @is_image_set.setter
    def is_image_set(self, value: bool) -> None:
        if value:
            raise refusal("is_image_set")
        self.reset_image()

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of the current image, in the user's frame."""
        return self._require_state().weighted[0][0].frame.transform.source_hw

    @original_size.setter
    def original_size(self, value: object) -> None:
        raise refusal("original_size")

    @property
    def canonical_size(self) -> tuple[int, int]:
        """(height, width) of the canonical image; NoImageError before ``set_image``."""
        return self._image.frame.transform.target_hw

    def get_image_embedding(self, *, frame: str = "user") -> Tensor:
        """The embedding of the current image, (1, C, h, w).

        It is that of the canonical image, and a decoder outside of samrot would get prompts of
        another frame with it, without a word: where the two frames differ, it is given only to
        those who ask for it.

        Args:
            frame: ``user``, or ``canonical``: prompts are then moved by ``canonical_prompts``, and
                masks come back by ``user_masks``.

        Raises:
            NoImageError: before ``set_image``.
            InputError: if the segmenter has no such embedding, or the image is not canonical as it
                is and ``frame`` is not ``canonical``.
        """
        check_choice("frame", frame, FRAMES)
        current = self._image
        features = current.encoding.features
        if not isinstance(features, Tensor):
            raise InputError(f"{self._segmenter.name} has no image embedding of a single tensor")
        if frame == "user" and not current.frame.transform.is_identity:
            raise InputError(
                "the embedding is that of the canonical image, and the image has pose "
                f"{self.pose}; use predict, or get_image_embedding(frame='canonical') with "
                "canonical_prompts and user_masks"
            )
        return features

    def user_masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks of the canonical image, (..., H, W), in the frame of the image that was given.

        Raises:
            NoImageError: before ``set_image``.
            InputError: if they are not of the size of the canonical image.
        """
        return self._image.frame.transform.inverse().masks(masks)

    def get_state(self) -> PredictorState:
        """The current image, encoded: to be kept, pickled, and set again by ``set_state``.

        Raises:
            NoImageError: before ``set_image``.
        """
        return self._require_state()

    def set_state(self, state: PredictorState) -> None:
        """Set an image that was encoded before, by a predictor of the same segmenter.

        Raises:
            InputError: if it is no such state; the image set before stays.
        """
        if not isinstance(state, PredictorState):
            raise InputError(
                f"state is a {type(state).__name__}; expected what predictor.get_state() returned"
            )
        self._state = state

    def reset_image(self) -> None:
        """Forget the current image."""
        self._state = None

    def _move_image(self, device: str) -> None:
        """Take the current image, if there is one, along to another device."""

        def moved(image: CanonicalImage) -> CanonicalImage:
            return replace(image, encoding=move_encoding(image.encoding, device))

        if (state := self._state) is not None:
            self._state = replace(
                state,
                weighted=tuple((moved(image), log_weight) for image, log_weight in state.weighted),
                objects={frame: moved(image) for frame, image in state.objects.items()},
            )

    def _set_frames(
        self,
        images: Sequence[CanonicalImage],
        log_weights: Sequence[float],
        photo: np.ndarray | None,
    ) -> None:
        """Set a photo in the frames that it may lie in."""
        weighted = tuple(zip(images, log_weights, strict=True))
        self._state = PredictorState(weighted, photo, encoder_passes=len(weighted))

    def _decide(self, pipeline: Pipeline, prompts: Prompts, *, multimask: bool) -> CanonicalImage:
        """The photo, in the pose that the segmenter is surest of at its first prompts."""
        state = self._require_state()
        chosen = choose(pipeline, state.weighted, prompts, multimask=multimask)
        self._state = replace(state, weighted=((chosen, 0.0),))
        return chosen

    def _encode_objects(
        self, pipeline: Pipeline, image: CanonicalImage, rotated_boxes: np.ndarray | None
    ) -> list[EncodedRows]:
        """The photo, encoded in the frames of rotated boxes, (N, 5) in the user's frame."""
        state = self._require_state()
        parts = encode_objects(pipeline, state.photo, image, rotated_boxes, state.objects)
        made = {part.image.frame.transform: part.image for part in parts if part.image is not image}
        kept = list({**state.objects, **made}.items())[-MOST_KEPT:]
        passes = state.encoder_passes + len(made.keys() - state.objects.keys())
        self._state = replace(state, objects=dict(kept), encoder_passes=passes)
        return parts

    @property
    def _image(self) -> CanonicalImage:
        weighted = self._require_state().weighted
        if len(weighted) > 1:
            raise NoImageError("the pose is not decided: pose_source decides at the first predict")
        return weighted[0][0]

    def _require_state(self) -> PredictorState:
        if self._state is None:
            raise NoImageError("no image is set: call set_image(image) before prediction")
        return self._state


def refusal(attribute: str) -> InputError:
    """Why what belongs to an image cannot be assigned."""
    return InputError(
        f"{attribute} cannot be assigned: the embedding, the sizes and the pose of an image belong "
        "together; keep predictor.get_state() and give it to predictor.set_state"
    )
