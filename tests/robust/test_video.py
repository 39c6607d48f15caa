"""A clip behind one pose: a small random SAM 2 video model of the real classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samrot
from samrot.geometry import exact
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.robust.video import VideoState
from tests.segmenters.test_transformers import SIDE, small_sam2
from tests.test_docs import blocks

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SIZE_HW = (40, 60)
BOX = np.array([10.3, 8.7, 33.1, 30.9])
POINTS, LABELS = np.array([[20.2, 15.9], [41.0, 30.4]]), np.array([1, 0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    image_config = small_sam2().config
    config = transformers.Sam2VideoConfig(
        vision_config=image_config.vision_config.to_dict(),
        prompt_encoder_config={"image_size": SIDE, "patch_size": 16},
        image_size=SIDE,
        memory_attention_rope_feat_sizes=[SIDE // 16, SIDE // 16],
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
    )
    size = {"height": SIDE, "width": SIDE}
    processor = transformers.Sam2VideoProcessor(
        transformers.Sam2ImageProcessor(size=size),
        transformers.Sam2VideoVideoProcessor(size=size),
    )
    path: Path = tmp_path_factory.mktemp("sam2_video")
    model = transformers.Sam2VideoModel(config)
    with torch.no_grad():  # objects are in sight: where they are not, there is nothing to compare
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(10.0)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def predictor(folder: Path) -> samrot.RobustVideoPredictor:
    return samrot.RobustVideoPredictor.from_pretrained(folder)


def clip() -> list[np.ndarray]:
    """Three frames of a bright block that moves, over noise."""
    rng = np.random.default_rng(0)
    frames = []
    for n in range(3):
        frame = rng.integers(0, 60, (*SIZE_HW, 3), dtype=np.uint8)
        frame[10:28, 12 + 6 * n : 30 + 6 * n] += np.uint8(150)
        frames.append(frame)
    return frames


def track(
    predictor: samrot.RobustVideoPredictor, frames: list[np.ndarray], element: int = 0, **how: Any
) -> tuple[VideoState, list[torch.Tensor]]:
    """Masklets of a box, clicks and a mask, which are moved along with the clip."""
    state = predictor.init_state(frames, **how)
    box = exact.move_boxes(BOX, element, SIZE_HW)
    points = exact.move_points(POINTS, element, SIZE_HW)
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[20:35, 30:50] = True
    found = [
        predictor.add_new_points_or_box(state, 0, 7, box=box),
        predictor.add_new_points_or_box(state, 0, 3, points, LABELS),
        predictor.add_new_mask(state, 0, 5, exact.move_image(mask, element)),
    ]
    assert [ids for _, ids, _ in found] == [[7], [7, 3], [7, 3, 5]]
    found += predictor.propagate_in_video(state)
    assert [index for index, _, _ in found] == [0, 0, 0, 0, 1, 2]
    return state, [logits for _, _, logits in found]


@pytest.mark.slow
def test_the_same_masklets_at_every_turn(predictor: samrot.RobustVideoPredictor) -> None:
    state, expected = track(predictor, clip())
    assert expected[-1].shape == (3, 1, *SIZE_HW)
    assert expected[-1].dtype == torch.float32
    assert not torch.equal(expected[-1], expected[-2])
    pose = predictor.canonicalizer.estimate_many(clip())  # type: ignore[union-attr]
    assert state.pose.element == pose.element
    assert np.array_equal(state.pose.probabilities, pose.probabilities)  # type: ignore[arg-type]
    for element in range(1, 4):
        turned = [exact.move_image(frame, element) for frame in clip()]
        state, got = track(predictor, turned, element)
        assert state.pose.element == (pose.element + element) % 4
        for a, b in zip(got, expected, strict=True):
            assert np.array_equal(a.numpy(), exact.move_masks(b.numpy(), element))


def test_without_canonicalizer_it_is_the_model(folder: Path) -> None:
    """The calls that the documentation of transformers shows, on the same clip."""
    plain = samrot.RobustVideoPredictor.from_pretrained(folder, None)
    model, processor = plain.model, plain.processor
    session = processor.init_video_session(video=np.stack(clip()))
    processor.add_inputs_to_inference_session(session, 0, 7, input_boxes=[[BOX.tolist()]])
    with torch.no_grad():
        model(session, frame_idx=0)
        outputs = list(model.propagate_in_video_iterator(session))
    state = plain.init_state(clip())
    plain.add_new_points_or_box(state, 0, 7, box=BOX)
    for (index, ids, logits), output in zip(plain.propagate_in_video(state), outputs, strict=True):
        expected = processor.post_process_masks([output.pred_masks], [SIZE_HW], binarize=False)[0]
        assert (index, ids) == (output.frame_idx, [7])
        assert torch.equal(logits, expected)
    backwards = plain.propagate_in_video(state, 2, 1, reverse=True)
    assert [index for index, _, _ in backwards] == [2, 1]


def test_a_tilt_is_undone_where_asked_for(folder: Path) -> None:
    robust = samrot.RobustVideoPredictor.from_pretrained(folder, None, tilt="full")
    view = PlaneTransform.from_pose(Pose(1, 20.0), SIZE_HW, "expand")
    frames = [view.image(frame) for frame in clip()]
    state = robust.init_state(frames, pose=Pose(1, 20.0))
    index, ids, logits = robust.add_new_points_or_box(state, 1, 0, view.points(POINTS), LABELS)
    assert (index, ids) == (1, [0])
    assert logits.shape == (1, 1, *frames[0].shape[:2])
    assert state.frame.transform.target_hw != frames[0].shape[:2]


def test_a_pose_by_some_of_the_frames(folder: Path) -> None:
    robust = samrot.RobustVideoPredictor.from_pretrained(folder, pose_frames=2)
    expected = robust.canonicalizer.estimate_many([clip()[0], clip()[2]])  # type: ignore[union-attr]
    state = robust.init_state(clip())
    assert np.array_equal(state.pose.probabilities, expected.probabilities)  # type: ignore[arg-type]


def test_the_function_that_the_page_shows(folder: Path) -> None:
    code = next(c for c in blocks("docs/bursts.md", "python") if "RobustVideoPredictor" in c)
    namespace: dict[str, Any] = {}
    exec(code.replace("facebook/sam2.1-hiera-tiny", str(folder)), namespace)
    masks = namespace["masklets"](clip(), BOX)
    robust = samrot.RobustVideoPredictor.from_pretrained(folder)
    state = robust.init_state(clip())
    robust.add_new_points_or_box(state, 0, 1, box=BOX)
    expected = [logits[0, 0] > 0 for _, _, logits in robust.propagate_in_video(state)]
    assert len(masks) == 3
    assert all(torch.equal(a, b) for a, b in zip(masks, expected, strict=True))


def test_bad_input(predictor: samrot.RobustVideoPredictor, folder: Path, tmp_path: Path) -> None:
    state = predictor.init_state(clip(), pose=0)
    other = np.zeros((41, 60, 3), dtype=np.uint8)
    for call, message in (
        (lambda: predictor.init_state([]), "frames holds no frame; expected at least one"),
        (lambda: predictor.init_state([*clip(), other]), "frame 3 is 41x60, but the first 40x60"),
        (lambda: predictor.init_state([other.astype(float)]), "expected uint8"),
        (lambda: list(predictor.propagate_in_video(state)), "there is no object: call add_new"),
        (
            lambda: predictor.add_new_points_or_box(state, 3, 0, box=BOX),
            "frame_idx is 3; expected .*at least 0 and at most 2",
        ),
        (lambda: predictor.add_new_points_or_box(state, 0, -1, box=BOX), "obj_id is -1"),
        (
            lambda: predictor.add_new_points_or_box(state, 0, 0, box=[30, 1, 10, 2]),
            "box",
        ),
        (
            lambda: predictor.add_new_mask(state, 0, 0, np.zeros((60, 40))),
            r"mask has shape \(60, 40\); expected \(40, 60\)",
        ),
        (
            lambda: samrot.RobustVideoPredictor(torch.nn.Linear(1, 1), predictor.processor),
            "model is a Linear; expected a Sam2VideoModel",
        ),
        (
            lambda: samrot.RobustVideoPredictor(predictor.model, None),
            "processor is a NoneType; expected",
        ),
        (
            lambda: samrot.RobustVideoPredictor.from_pretrained(folder, pose_frames=0),
            "pose_frames is 0",
        ),
        (
            lambda: samrot.RobustVideoPredictor.from_pretrained(tmp_path),
            "holds no config.json; expected a folder that save_pretrained wrote",
        ),
    ):
        with pytest.raises(samrot.InputError, match=message):
            call()
