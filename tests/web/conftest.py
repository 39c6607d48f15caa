"""A page that runs, and a browser on it; ``make test-web`` brings both."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PORT = 7951


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of ``samrot web``, in a process of its own."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio is not installed: make test-web installs it")
    log, uploads = tmp_path_factory.mktemp("web") / "log", tmp_path_factory.mktemp("uploads")
    command = [sys.executable, "-m", "samrot", "web", "--port", str(PORT), "--max_megapixels", "4"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(uploads)}
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as server,
    ):
        try:
            yield _wait_for_line(log, server)
        finally:
            server.terminate()
            server.wait(60)
    assert not list(uploads.glob("samrot-web-*")), "photos of the page are left behind"


def _wait_for_line(log: Path, server: subprocess.Popen[bytes]) -> str:
    for _ in range(1200):
        if match := re.search(r"page: (http://\S+)", log.read_text()):
            return match[1]
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the page did not come up:\n{log.read_text()}")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium without a window, which logs its console and its requests."""
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("selenium is not installed: make test-web installs it")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed: make test-web asks for them")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,1300")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_page_load_timeout(120)
    try:
        yield started
    finally:
        started.quit()
