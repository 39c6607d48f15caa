"""The page of ``samrot web``: stock components of gradio, and what each of them does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from samrot.commands.web_session import PLAIN, ROBUST, Click, SideBySide, WebSession
from samrot.data.images import image_size, read_image
from samrot.data.scenes import draw_scene
from samrot.errors import InputError

IN_OBJECT, OUTSIDE, BOX = "click in the object", "click outside of it", "box: click two corners"
EXAMPLE_SEED = 7  # of the scene that is shown before a photo is chosen
_HELP = """# samrot
Turn the photo, then click an object in it, or draw a box around one. **Plain** shows the segmenter
the photo as it is turned here; **robust** lets the canonicalizer turn it upright first."""


def build_page(gradio: Any, models: SideBySide, max_megapixels: float, folder: str) -> Any:
    """The page, a ``gradio.Blocks`` that is not launched.

    Args:
        gradio: the module.
        models: what the page shows.
        max_megapixels: largest photo that is taken, millions of pixels.
        folder: folder for files to download.
    """
    photo_scene = draw_scene(np.random.default_rng(EXAMPLE_SEED)).image

    def show(session: WebSession) -> list[Any]:
        """What the outputs of the page become."""
        button: dict[str, Any] = {"value": None, "interactive": session.objects is not None}
        if session.objects is not None:
            path = Path(folder) / f"{uuid4().hex}" / "masks.zip"
            path.parent.mkdir()
            path.write_bytes(session.archive())
            button["value"] = str(path)
        return [
            session,
            session.shown,
            session.drawn(PLAIN),
            session.drawn(ROBUST),
            session.probabilities,
            _words(session),
            session.angle_deg,
            gradio.DownloadButton(**button),
        ]

    def handler(function: Callable[..., WebSession]) -> Callable[..., list[Any]]:
        @wraps(function)
        def handle(*values: Any) -> list[Any]:
            try:
                return show(function(*values))
            except InputError as error:
                raise gradio.Error(str(error), title="samrot", print_exception=False) from error

        return handle

    def choose(path: str | None) -> WebSession:
        if path is None:
            return models.open(photo_scene)
        height, width = image_size(path, apply_exif=True)
        if height * width > max_megapixels * 1e6:
            raise InputError(
                f"the photo has {height * width / 1e6:.1f} megapixels; expected at most "
                f"{max_megapixels:g}: scale it down, or start samrot web with --max_megapixels"
            )
        return models.open(read_image(path))

    def turn_by(degrees: float) -> Callable[[WebSession], WebSession]:
        return lambda session: models.open(session.photo, (session.angle_deg + degrees) % 360)

    def click(session: WebSession, mode: str, event: Any) -> WebSession:
        xy = (int(event.index[0]), int(event.index[1]))
        if mode == BOX:
            corners = (*session.corners, xy) if len(session.corners) == 1 else (xy,)
            return models.ask(session, session.clicks, corners)
        clicks = (*session.clicks, Click(xy, int(mode == IN_OBJECT)))
        return models.ask(session, clicks, session.corners)

    click.__annotations__["event"] = gradio.SelectData  # by which gradio knows what to pass

    with gradio.Blocks(analytics_enabled=False, title="samrot", fill_width=True) as page:
        gradio.Markdown(_HELP)
        still: dict[str, Any] = {"interactive": False, "format": "png", "buttons": []}
        with gradio.Row():
            with gradio.Column(scale=1):
                file = gradio.File(label="Photo", file_types=["image"], height=140, elem_id="file")
                angle = gradio.Slider(
                    0, 359, step=1, label="Turn, degrees counter-clockwise", elem_id="angle"
                )
                with gradio.Row():
                    left = gradio.Button("\u21ba 90°", elem_id="left", min_width=60)
                    right = gradio.Button("\u21bb 90°", elem_id="right", min_width=60)
                mode = gradio.Radio(
                    [IN_OBJECT, OUTSIDE, BOX], value=IN_OBJECT, label="Prompt", elem_id="mode"
                )
                with gradio.Row():
                    clear = gradio.Button("Forget prompts", elem_id="clear", min_width=60)
                    everything = gradio.Button("Everything", elem_id="everything", min_width=60)
                masks = gradio.DownloadButton("Masks", elem_id="masks", interactive=False)
            with gradio.Column(scale=2):
                shown = gradio.Image(label="Click here", elem_id="shown", **still)
            with gradio.Column(scale=1):
                poses = gradio.Label(label="Pose of what is shown", elem_id="poses")
                words = gradio.Markdown(elem_id="words")
        with gradio.Row():
            plain = gradio.Image(label="Plain", elem_id=PLAIN, **still)
            robust = gradio.Image(label="Robust", elem_id=ROBUST, **still)
        session = gradio.State(None, time_to_live=3600)
        common = {
            "outputs": [session, shown, plain, robust, poses, words, angle, masks],
            "api_visibility": "private",
            "concurrency_id": "models",
        }
        page.load(handler(choose), [file], **common)
        file.change(handler(choose), [file], **common)
        angle.release(
            handler(lambda now, degrees: models.open(now.photo, degrees)),
            [session, angle],
            **common,
        )
        left.click(handler(turn_by(90)), [session], **common)
        right.click(handler(turn_by(-90)), [session], **common)
        shown.select(handler(click), [session, mode], **common)
        clear.click(handler(models.ask), [session], **common)
        everything.click(handler(models.everything), [session], **common)
    return page


def _words(session: WebSession) -> str:
    """Tilt, times and predicted IoU, for a person."""
    lines = [
        f"tilt {session.pose.tilt_deg:.0f}°",
        "",
        "| | encode | masks | IoU |",
        "|---|---|---|---|",
    ]
    for which, seconds in session.encode_seconds.items():
        found, took = "", ""
        if session.objects is not None and session.seconds is not None:
            took = f"{session.seconds[which]:.2f} s"
            scores = [item.score for item in session.objects[which] if item.score is not None]
            found = f"{scores[0]:.2f}" if len(scores) == 1 else f"{len(scores)} masks"
        lines.append(f"| {which} | {seconds:.2f} s | {took} | {found} |")
    if len(session.corners) == 1:
        lines += ["", "now the opposite corner of the box"]
    return "\n".join(lines)
