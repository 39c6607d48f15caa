"""``samrot web``: a page on this machine to try plain and robust segmentation on."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from samrot.canonicalizers import CanonicalizerChoice
from samrot.commands.web_page import build_page
from samrot.commands.web_session import SideBySide
from samrot.errors import InputError, check_choice, check_count, check_range
from samrot.robust.frames import TILT_POLICIES
from samrot.segmenters import SegmenterWeights, load_segmenter

# Fonts of the machine: those of gradio's own themes come from elsewhere.
_FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


@dataclass(kw_only=True)
class WebSettings:
    """Settings of ``samrot web``.

    Args:
        segmenter: which segmenter.
        canonicalizer: which canonicalizer.
        tilt: what of a pose is undone: quarter (quarter turns and mirrors), full (a tilt too, by
            one warp), or auto: quarter for clicks and boxes, full for everything.
        device: where the models run: cpu, cuda, cuda:1, mps, or auto.
        host: address that the page listens on; 127.0.0.1 is reached from this machine alone, and
            0.0.0.0 from all of its networks, by anyone.
        port: port of the page.
        max_upload_mb: largest file that is taken, megabytes.
        max_megapixels: largest photo that is taken, millions of pixels.
    """

    segmenter: SegmenterWeights = field(default_factory=SegmenterWeights)
    canonicalizer: CanonicalizerChoice = field(default_factory=CanonicalizerChoice)
    tilt: str = "auto"
    device: str = "cpu"
    host: str = "127.0.0.1"
    port: int = 7860
    max_upload_mb: int = 30
    max_megapixels: float = 50.0

    def __post_init__(self) -> None:
        check_choice("tilt", self.tilt, TILT_POLICIES)
        check_count("port", self.port, 1, 65535)
        check_count("max_upload_mb", self.max_upload_mb, 1)
        check_range("max_megapixels", self.max_megapixels, 0.01)


def serve(settings: WebSettings, announce: Callable[[str], object] = print) -> None:
    """Show the page until it is interrupted or terminated; what was uploaded is gone then.

    Args:
        settings: which models, and where the page listens.
        announce: called with a line that names the address, once the page can be opened.

    Raises:
        InputError: if gradio is not installed, a model cannot be loaded, or the port is taken.
    """
    _check_address(settings.host, settings.port)
    with _ended_in_order(), tempfile.TemporaryDirectory(prefix="samrot-web-") as folder:
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        gradio = _import_gradio()
        choice = settings.segmenter
        models = SideBySide(
            load_segmenter(choice.name, checkpoint=choice.checkpoint, device=settings.device),
            settings.canonicalizer.load(settings.device),
            settings.tilt,
        )
        page = build_page(gradio, models, settings.max_megapixels, folder)
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{settings.max_upload_mb}mb",
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            state_session_capacity=100,
            theme=gradio.themes.Default(**_FONTS),
        )
        try:
            announce(f"page: http://{settings.host}:{settings.port} (Ctrl-C ends it)")
            page.block_thread()
        finally:
            page.close(verbose=False)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Make being terminated an exit, so that what was uploaded is removed."""
    if threading.current_thread() is not threading.main_thread():  # no other may
        yield
        return

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # while it is removed
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _import_gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise InputError(
            "samrot web needs gradio, which is not installed; pip install 'samrot[web]'"
        ) from error
    return gradio


def _check_address(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind((host, port))
    except OSError as error:
        raise InputError(
            f"the page cannot listen on {host}:{port} ({error.strerror or error}); give another "
            "--port or --host"
        ) from error
