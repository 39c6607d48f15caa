"""What the page of ``samrot web`` does; ``tests/web`` looks at it in a browser."""

from __future__ import annotations

import importlib.util
import io
import json
import socket
import zipfile

import numpy as np
import pytest
from PIL import Image

import samrot
from samrot.cli import main
from samrot.commands.web import WebSettings
from samrot.commands.web_session import PLAIN, ROBUST, Click, SideBySide
from samrot.data.scenes import draw_scene
from samrot.errors import InputError
from samrot.geometry.plane import PlaneTransform
from samrot.geometry.pose import Pose
from samrot.geometry.rle import decode_mask

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed: samrot[web]"
)


@pytest.fixture(scope="module")
def models() -> SideBySide:
    return SideBySide(
        samrot.load_segmenter("sam_mini"), samrot.load_canonicalizer("c4"), tilt="auto"
    )


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return draw_scene(np.random.default_rng(3), (120, 160)).image


def test_robust_masks_turn_with_the_photo(models: SideBySide, photo: np.ndarray) -> None:
    upright = models.ask(models.open(photo), corners=[(40, 50), (100, 110)])
    turned = models.open(photo, 90)
    np.testing.assert_array_equal(turned.shown, np.rot90(photo))
    # Index (x, y) of a photo W wide is at (y, W - 1 - x) after a quarter turn.
    asked = models.ask(turned, corners=[(50, 159 - 40), (110, 159 - 100)])
    assert upright.objects is not None
    assert asked.objects is not None
    turn = PlaneTransform.from_pose(Pose(1), (120, 160))
    expected = turn.masks(decode_mask(upright.objects[ROBUST][0].rle)[None])[0]
    np.testing.assert_array_equal(decode_mask(asked.objects[ROBUST][0].rle), expected)
    assert expected.any()


def test_masks_are_those_of_the_predictor(models: SideBySide, photo: np.ndarray) -> None:
    asked = models.ask(models.open(photo), clicks=[Click((70, 80), 1), Click((10, 10), 0)])
    predictor = samrot.RobustPredictor(models.segmenter, None)
    predictor.set_image(photo)
    masks, scores, _ = predictor.predict(
        np.array([[70, 80], [10, 10]]), np.array([1, 0]), multimask_output=False
    )
    assert asked.objects is not None
    np.testing.assert_array_equal(decode_mask(asked.objects[PLAIN][0].rle), masks[0])
    assert asked.objects[PLAIN][0].score == pytest.approx(float(scores[0]))


def test_a_tilted_photo_is_shown_whole(models: SideBySide, photo: np.ndarray) -> None:
    shown = models.open(photo, 30).shown
    assert shown.shape[0] > 120
    assert shown.shape[1] > 160


def test_there_are_no_masks_before_a_prompt_points_at_something(
    models: SideBySide, photo: np.ndarray
) -> None:
    session = models.open(photo)
    assert models.ask(session, clicks=[Click((5, 5), 0)]).objects is None
    assert models.ask(session, corners=[(5, 5)]).objects is None
    with pytest.raises(InputError, match="no masks yet"):
        session.archive()


def test_the_archive_holds_masks_and_scores(models: SideBySide, photo: np.ndarray) -> None:
    asked = models.ask(models.open(photo, 90), corners=[(20, 20), (90, 120)])
    with zipfile.ZipFile(io.BytesIO(asked.archive())) as archive:
        assert sorted(archive.namelist()) == ["masks.json", "plain_000.png", "robust_000.png"]
        mask = np.asarray(Image.open(archive.open("robust_000.png"))) == 255
        listed = json.loads(archive.read("masks.json"))
    assert listed["angle_deg"] == 90
    np.testing.assert_array_equal(mask, decode_mask(listed["robust"][0]["segmentation"]))


def test_everything_asks_for_predicted_ious(photo: np.ndarray) -> None:
    boxes = SideBySide(samrot.load_segmenter("box"), samrot.load_canonicalizer("c4"), "auto")
    with pytest.raises(InputError, match="by their predicted IoU, but box predicts none"):
        boxes.everything(boxes.open(photo))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 0}, "port is 0; expected a number of at least 1 and at most 65535"),
        ({"tilt": "half"}, "tilt is 'half'"),
        ({"max_megapixels": -1.0}, "max_megapixels is -1"),
        ({"max_upload_mb": 0}, "max_upload_mb is 0"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        WebSettings(**options)


@needs_gradio
def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["web", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in error
    assert len(error.splitlines()) == 1


def test_a_photo_that_is_shown_without_gradio_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert main(["web", "--port", str(port)]) == 2
    assert "pip install 'samrot[web]'" in capsys.readouterr().err
