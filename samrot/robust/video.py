"""A clip behind one pose: SAM 2's video model, robust to how the camera was held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samrot.canonicalizers import Canonicalizer, as_canonicalizer
from samrot.errors import InputError, check_choice, check_count
from samrot.geometry.pose import Pose, as_pose
from samrot.robust.frames import TILT_POLICIES, CanonicalFrame
from samrot.robust.user_prompts import user_prompt
from samrot.segmenters import load_video_model
from samrot.structures.image import check_image
from samrot.structures.prompts import Prompts

POSE_FRAMES = 8
Masklets = tuple[int, list[int], Tensor]


@dataclass(frozen=True, eq=False)
class VideoState:
    """A clip as ``RobustVideoPredictor.init_state`` made it; what is tracked is in the session.

    Args:
        frame: how all frames lie in their canonical frame.
        session: ``Sam2VideoInferenceSession``, of the canonical clip.
    """

    frame: CanonicalFrame
    session: Any

    @property
    def pose(self) -> Pose:
        """The pose that the frames share."""
        return self.frame.pose


class RobustVideoPredictor:
    """SAM 2's video model of ``transformers``, for clips that may be turned.

    The frames share one pose, for which the evidence of several is summed. The clip is moved by it,
    prompts with it, and masklets are moved back. Methods, arguments and results are those of
    ``SAM2VideoPredictor``.

    Args:
        model: ``Sam2VideoModel``.
        processor: its ``Sam2VideoProcessor``.
        canonicalizer: a ``Canonicalizer``, a name or path for ``samrot.load_canonicalizer``, or
            None for the plain model through the same code.
        tilt: ``quarter`` undoes quarter turns and mirrors, ``full`` a tilt too, by one warp of each
            frame; ``auto`` is ``quarter``.
        pose_frames: frames that are asked for their pose, spread evenly over the clip.

    Raises:
        InputError: if an argument is off.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        canonicalizer: Canonicalizer | str | Path | None = "c4",
        *,
        tilt: str = "auto",
        pose_frames: int = POSE_FRAMES,
    ) -> None:
        check_choice("tilt", tilt, TILT_POLICIES)
        check_count("pose_frames", pose_frames, 1)
        for name, given, needed in (
            ("model", model, "propagate_in_video_iterator"),
            ("processor", processor, "init_video_session"),
        ):
            if not hasattr(given, needed):
                raise InputError(
                    f"{name} is a {type(given).__name__}; expected a Sam2VideoModel and its "
                    "Sam2VideoProcessor, or RobustVideoPredictor.from_pretrained"
                )
        self.model = model.eval()
        self.processor = processor
        self.canonicalizer = as_canonicalizer(canonicalizer, str(model.device))
        self.tilt = "full" if tilt == "full" else "quarter"
        self.pose_frames = pose_frames

    @classmethod
    def from_pretrained(
        cls, checkpoint: str | Path, *args: Any, device: str = "cpu", **kwargs: Any
    ) -> RobustVideoPredictor:
        """A model as ``save_pretrained`` writes it.

        Args:
            checkpoint: folder, or id on the Hugging Face hub (``facebook/sam2.1-hiera-tiny``).
            args, kwargs: further arguments of the class.
            device: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``auto``.

        Raises:
            InputError: if there is no such model there, or an argument is off.
        """
        return cls(*load_video_model(checkpoint, device), *args, **kwargs)

    def init_state(
        self, frames: Sequence[np.ndarray], *, pose: Pose | int | None = None
    ) -> VideoState:
        """Look at a clip; nothing is tracked yet.

        Args:
            frames: at least one, each (H, W, 3) uint8 RGB, all of one size.
            pose: the pose of the clip if it is known, 0..7 or a ``samrot.Pose``; None estimates it.

        Raises:
            InputError: if there is no frame, or one is off.
        """
        size_hw = _checked_size(frames)
        known = Pose() if self.canonicalizer is None else None
        shared = known if pose is None else as_pose(pose)
        if shared is None:
            shared = self._estimate(frames)
        estimated = shared.probabilities is not None
        frame = CanonicalFrame.of_pose(shared, size_hw, tilt=self.tilt, snapped=estimated)
        session = self.processor.init_video_session(
            video=np.stack([frame.canonical_image(image) for image in frames]),
            inference_device=self.model.device,
            dtype=self.model.dtype,
        )
        return VideoState(frame, session)

    def add_new_points_or_box(
        self,
        state: VideoState,
        frame_idx: int,
        obj_id: int,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
    ) -> Masklets:
        """Point at an object in one frame; what pointed at it there before is forgotten.

        Args:
            state: the clip.
            frame_idx: index of the frame.
            obj_id: a number of yours for the object.
            points: (N, 2), (x, y) in pixels of the clip as it was given.
            labels: (N,), 1 in the object, 0 outside.
            box: (4,), XYXY in pixels.

        Returns:
            Index of the frame, ids of all objects, and their logits, (N, 1, H, W).

        Raises:
            InputError: if a prompt is off, or there is no such frame.
        """
        size_hw = state.frame.transform.source_hw
        moved = state.frame.canonical_prompts(user_prompt(points, labels, box, size_hw=size_hw))
        return self._add(state, frame_idx, obj_id, _as_nested_lists(moved))

    def add_new_mask(
        self, state: VideoState, frame_idx: int, obj_id: int, mask: ArrayLike
    ) -> Masklets:
        """Give the mask of an object in one frame; as ``add_new_points_or_box``.

        Args:
            state, frame_idx, obj_id: as there.
            mask: (H, W), what is not 0 is the object.

        Raises:
            InputError: if the mask is not of the size of the clip, or there is no such frame.
        """
        given, size_hw = np.asarray(mask), state.frame.transform.source_hw
        if given.shape != size_hw:
            raise InputError(f"mask has shape {given.shape}; expected {size_hw}, that of a frame")
        canonical = state.frame.transform.masks(given.astype(bool))
        return self._add(state, frame_idx, obj_id, {"input_masks": torch.from_numpy(canonical)})

    @torch.no_grad()
    def propagate_in_video(
        self,
        state: VideoState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Masklets]:
        """Follow the objects through the clip.

        Args:
            state: the clip.
            start_frame_idx: first frame; None is the earliest at which an object was pointed.
            max_frame_num_to_track: None is all.
            reverse: backwards.

        Yields:
            Index of a frame, ids of the objects, and their logits, (N, 1, H, W) float32; a mask is
            where they are above 0.

        Raises:
            InputError: if nothing was pointed at yet, or there is no such frame.
        """
        if state.session.get_obj_num() == 0:
            raise InputError("there is no object: call add_new_points_or_box or add_new_mask first")
        if start_frame_idx is not None:
            self._check_frame(state, "start_frame_idx", start_frame_idx)
        for output in self.model.propagate_in_video_iterator(
            state.session, start_frame_idx, max_frame_num_to_track, reverse
        ):
            yield self._masklets(state, output)

    @torch.no_grad()
    def _add(
        self, state: VideoState, frame_idx: int, obj_id: int, prompts: dict[str, Any]
    ) -> Masklets:
        self._check_frame(state, "frame_idx", frame_idx)
        check_count("obj_id", obj_id, 0)
        self.processor.add_inputs_to_inference_session(
            state.session, frame_idx, int(obj_id), **prompts
        )
        return self._masklets(state, self.model(state.session, frame_idx=frame_idx))

    def _masklets(self, state: VideoState, output: Any) -> Masklets:
        """What the model says of a frame, in the user's frame."""
        size_hw = state.frame.transform.target_hw
        logits = self.processor.post_process_masks(
            [output.pred_masks.float()], [list(size_hw)], binarize=False
        )[0]
        moved = state.frame.transform.inverse().logits(logits)
        return output.frame_idx, list(output.object_ids), moved

    def _estimate(self, frames: Sequence[np.ndarray]) -> Pose:
        assert self.canonicalizer is not None
        number = min(self.pose_frames, len(frames))
        asked = np.linspace(0, len(frames) - 1, number).round().astype(int)
        return self.canonicalizer.estimate_many([frames[n] for n in asked])

    @staticmethod
    def _check_frame(state: VideoState, name: str, frame_idx: int) -> None:
        check_count(name, frame_idx, 0, state.session.num_frames - 1)


def _checked_size(frames: Sequence[np.ndarray]) -> tuple[int, int]:
    """(height, width) of the frames of a clip."""
    if len(frames) == 0:
        raise InputError("frames holds no frame; expected at least one")
    for n, image in enumerate(frames):
        check_image(image)
        if image.shape != frames[0].shape:
            raise InputError(
                f"frame {n} is {image.shape[0]}x{image.shape[1]}, but the first "
                f"{frames[0].shape[0]}x{frames[0].shape[1]}; expected frames of one size"
            )
    return frames[0].shape[0], frames[0].shape[1]


def _as_nested_lists(prompts: Prompts) -> dict[str, Any]:
    """The prompts of one object, as the processor takes them."""
    nested: dict[str, Any] = {}
    if prompts.point_coords is not None and prompts.point_labels is not None:
        nested["input_points"] = [prompts.point_coords.tolist()]
        nested["input_labels"] = [prompts.point_labels.astype(int).tolist()]
    if prompts.boxes_xyxy is not None:
        nested["input_boxes"] = [prompts.boxes_xyxy.tolist()]
    return nested
