"""The page of a run: whole, in one file, and made from what the run wrote."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samrot.data.coco import DataSettings
from samrot.evaluation.report.page import Picture, Section, render_page
from samrot.evaluation.report.photos import widest_disagreements
from samrot.evaluation.runner import evaluate
from samrot.evaluation.settings import EvaluateSettings
from samrot.segmenters import SEGMENTERS, SegmenterSettings
from tests.conftest import ThresholdSegmenter


class Page(HTMLParser):
    """What a page holds, and what it asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "h2" and data.strip():
            self.titles.append(data.strip())

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        for uri in self.asked:
            if uri.startswith("data:"):
                kind, _, content = uri.removeprefix("data:").partition(";base64,")
                yield kind, base64.b64decode(content, validate=True)


def settings(folder: Path, out: Path, *, report: bool = True) -> EvaluateSettings:
    return EvaluateSettings(
        data=DataSettings(
            images=str(folder / "images"), annotations=str(folder / "annotations.json")
        ),
        out=str(out),
        segmenter=SegmenterSettings(name="threshold"),
        methods=["none", "oracle"],
        angles=[0, 90],
        limit=2,
        bootstrap=5,
        report=report,
    )


@pytest.fixture(autouse=True)
def segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENTERS, "threshold", lambda checkpoint, device: ThresholdSegmenter())


def test_a_run_has_one_page_that_asks_for_nothing(scenes_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluate(settings(scenes_folder, run))
    assert (
        (run / "summary.md").read_text().splitlines()[0].endswith("; prompts: ground-truth boxes")
    )
    assert ",bbox," not in (run / "summary.csv").read_text()  # they are the ground truth's
    text = (run / "report.html").read_text()
    assert "prompts: ground-truth boxes</p>" in text
    page = Page(text)
    assert page.titles == [
        "Scores", "AP by angle", "segm AP by category", "Cost",
        "Photos where the methods differ most", "Settings", "Environment", "How to cite",
    ]  # fmt: skip
    assert all(uri.startswith(("data:image/", "#s")) for uri in page.asked)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "http://" not in text
    assert "https://" not in text
    kinds = {"image/jpeg": 0, "image/svg+xml": 0}
    for kind, content in page.pictures():
        kinds[kind] += 1
        if kind == "image/jpeg":
            assert np.asarray(Image.open(io.BytesIO(content))).size > 0
    assert kinds["image/jpeg"] == 2  # the photos
    assert kinds["image/svg+xml"] >= 2
    assert len(text) < 5e6


def test_a_page_that_is_not_wanted_may_be_made_later(scenes_folder: Path, tmp_path: Path) -> None:
    """It is no setting of the work, and needs no model."""
    run = tmp_path / "run"
    summary = evaluate(settings(scenes_folder, run, report=False))
    assert not (run / "report.html").exists()
    SEGMENTERS.pop("threshold")
    SEGMENTERS["threshold"] = lambda checkpoint, device: pytest.fail("a model was loaded")
    assert evaluate(settings(scenes_folder, run)) == summary
    assert (run / "report.html").is_file()


def test_what_is_in_names_is_text() -> None:
    picture = Picture.of_image(np.zeros((2, 2, 3), np.uint8), '"><script>x</script>')
    text = render_page("<b>", "&", [Section("<i>", ["<u>"], [picture]), Section("left out")])
    assert not {"b", "i", "u", "script"} & set(Page(text).tags)
    assert "left out" not in text


def test_the_widest_difference_comes_first() -> None:
    def record(image_id: int, plain: float, turned: float) -> dict[str, object]:
        views = {"0": (plain, plain), "90": (turned, plain)}
        methods = {
            name: {view: {"ious": [ious[place]], "masks": []} for view, ious in views.items()}
            for place, name in enumerate(("none", "oracle"))
        }
        return {"image_id": image_id, "methods": methods}

    records = [record(1, 0.8, 0.8), record(2, 0.9, 0.7), record(3, 0.9, 0.1), record(4, 0.9, 0.5)]
    found = widest_disagreements(records, 2)
    assert [(d.image_id, d.view) for d in found] == [(3, "90"), (4, "90")]
    assert found[0].scores == {"none": 0.1, "oracle": 0.9}
