"""The page in a real browser, as a person uses it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from samrot.data.scenes import draw_scene

WAIT_SECONDS = 120


def test_a_person_turns_a_photo_and_clicks_and_gets_both_masks(
    browser: Any, address: str, tmp_path: Path
) -> None:
    page = Page(browser, address)
    page.choose(_photo(tmp_path / "photo.png"))
    page.wait_for(lambda: "pose" in page.text("poses").lower())
    upright = page.source("shown")

    page.click_button("left")
    page.wait_for(lambda: page.source("shown") != upright)
    assert page.size("shown") == (300, 400), "a photo of 400 x 300 stands on its side now"

    before = page.source("robust")
    page.click_at("shown", 0.5, 0.6)
    page.wait_for(lambda: page.source("robust") != before)
    assert page.source("plain") != before
    assert "0." in page.text("words"), "times and predicted IoUs are shown"

    page.download("masks")
    page.wait_for(lambda: list(tmp_path.glob("masks*.zip")) != [])
    with zipfile.ZipFile(next(tmp_path.glob("masks*.zip"))) as archive:
        listed = json.loads(archive.read("masks.json"))
        mask = Image.open(archive.open("robust_000.png"))
        assert mask.size == (300, 400)
        assert listed["angle_deg"] == 90
        assert np.asarray(mask).max() == 255

    assert page.console_errors() == []
    assert page.hosts() == {urlsplit(address).netloc}, "nothing was requested from elsewhere"


def test_a_box_is_drawn_by_two_corners(browser: Any, address: str, tmp_path: Path) -> None:
    page = Page(browser, address)
    page.choose(_photo(tmp_path / "photo.png"))
    page.wait_for(lambda: "pose" in page.text("poses").lower())
    page.choose_mode("box")
    before = page.source("robust")
    page.click_at("shown", 0.3, 0.4)
    page.wait_for(lambda: "opposite corner" in page.text("words"))
    page.click_at("shown", 0.7, 0.8)
    page.wait_for(lambda: page.source("robust") != before)
    page.click_button("clear")
    page.wait_for(lambda: "0." not in page.text("words").split("predicted IoU")[-1].split("s")[-1])
    assert page.console_errors() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is no photo", "cannot be decoded"),
        (b"", "cannot be decoded"),
        (None, "megapixels"),
    ],
)
def test_what_is_no_photo_is_one_line_on_the_page(
    browser: Any, address: str, tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "photo.jpg"
    if content is None:
        Image.new("RGB", (2500, 2000)).save(path)
    else:
        path.write_bytes(content)
    page = Page(browser, address)
    page.choose(path)
    page.wait_for(lambda: words in page.toasts())


class Page:
    """What a person sees and does."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        browser.get(address)
        self.wait_for(lambda: self.source("shown") != "")

    def wait_for(self, condition: Any) -> None:
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(
            self.browser, WAIT_SECONDS, ignored_exceptions=[WebDriverException, IndexError]
        )
        wait.until(lambda _: condition())

    def find(self, element_id: str, inside: str = "") -> Any:
        from selenium.webdriver.common.by import By

        return self.browser.find_element(By.CSS_SELECTOR, f"#{element_id} {inside}".strip())

    def choose(self, path: Path) -> None:
        before = self.source("shown")
        self.find("file", "input[type=file]").send_keys(str(path))
        if path.suffix == ".png":
            self.wait_for(lambda: self.source("shown") != before)

    def source(self, element_id: str) -> str:
        images = self.browser.execute_script(
            f"return [...document.querySelectorAll('#{element_id} img')].map(i => i.src)"
        )
        return str(images[0]) if images else ""

    def size(self, element_id: str) -> tuple[int, int]:
        width, height = self.browser.execute_script(
            f"let i = document.querySelector('#{element_id} img');"
            "return i.decode().then(() => [i.naturalWidth, i.naturalHeight])"
        )
        return width, height

    def text(self, element_id: str) -> str:
        return str(self.find(element_id).text)

    def toasts(self) -> str:
        from selenium.webdriver.common.by import By

        found = self.browser.find_elements(By.CSS_SELECTOR, ".toast-body")
        return " ".join(item.text for item in found)

    def click_button(self, element_id: str) -> None:
        self.find(element_id).click()

    def choose_mode(self, start: str) -> None:
        from selenium.webdriver.common.by import By

        for label in self.browser.find_elements(By.CSS_SELECTOR, "#mode label"):
            if label.text.startswith(start):
                label.click()

    def click_at(self, element_id: str, x_share: float, y_share: float) -> None:
        from selenium.webdriver import ActionChains

        image = self.find(element_id, "img")
        offset_x = round((x_share - 0.5) * image.size["width"])
        offset_y = round((y_share - 0.5) * image.size["height"])
        mouse = ActionChains(self.browser)
        mouse.move_to_element_with_offset(image, offset_x, offset_y).click().perform()

    def download(self, element_id: str) -> None:
        self.wait_for(lambda: self.find(element_id).is_enabled())
        self.find(element_id).click()

    def console_errors(self) -> list[str]:
        return [
            line["message"] for line in self.browser.get_log("browser") if line["level"] == "SEVERE"
        ]

    def hosts(self) -> set[str]:
        """The hosts that anything was requested from."""
        urls = []
        for line in self.browser.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(urlsplit(message["params"]["request"]["url"]))
        return {url.netloc for url in urls if url.scheme.startswith(("http", "ws"))}


def _photo(path: Path) -> Path:
    Image.fromarray(draw_scene(np.random.default_rng(3), (300, 400)).image).save(path)
    return path
