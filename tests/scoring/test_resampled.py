"""Resampled average precision equals pycocotools on the dataset that was resampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samrot.geometry.rle import encode_mask
from samrot.scoring import average_precision, image_matches
from samrot.scoring.resampled import Matches, draw_counts, interval

SIZE = (120, 160)


def made_dataset(seed: int, photos: int = 9) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Boxes of three categories and all sizes, some crowds, and results that are nearly right."""
    random = np.random.default_rng(seed)
    images = [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, photos + 1)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in images:
        for _ in range(int(random.integers(0, 7))):
            side = float(random.choice([10, 40, 100]))
            x, y = random.uniform(0, SIZE[1] - side), random.uniform(0, SIZE[0] - side)
            category = int(random.integers(1, 4))
            annotation = {
                "id": len(annotations), "image_id": image["id"], "category_id": category,
                "bbox": [x, y, side, side], "area": side * side,
                "iscrowd": int(random.random() < 0.1),
                "segmentation": mask_of(x, y, side),
            }  # fmt: skip
            annotations.append(annotation)
            for _ in range(int(random.integers(0, 3))):
                dx, dy = random.normal(0, side / 8, 2)
                results.append(
                    {
                        "image_id": image["id"], "score": float(random.random()),
                        "category_id": category if random.random() < 0.8 else 2,
                        "segmentation": mask_of(x + dx, y + dy, side),
                    }
                )  # fmt: skip
    content = {
        "images": images, "annotations": annotations, "categories": [{"id": c} for c in (1, 2, 3)]
    }  # fmt: skip
    return content, results


def mask_of(x: float, y: float, side: float) -> Any:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[max(0, int(y)) : int(y + side), max(0, int(x)) : int(x + side)] = 1
    return encode_mask(mask)


def resampled(
    content: dict[str, Any], results: list[dict[str, Any]], counts: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The dataset with each photo as often as it was drawn, under ids of its own."""
    new: dict[str, Any] = {"images": [], "annotations": [], "categories": content["categories"]}
    new_results: list[dict[str, Any]] = []
    for image, count in zip(content["images"], counts.astype(int), strict=True):
        for _ in range(count):
            image_id = len(new["images"]) + 1
            new["images"].append({**image, "id": image_id})
            for annotation in content["annotations"]:
                if annotation["image_id"] == image["id"]:
                    number = len(new["annotations"]) + 1
                    new["annotations"].append({**annotation, "id": number, "image_id": image_id})
            new_results += [
                {**result, "image_id": image_id}
                for result in results
                if result["image_id"] == image["id"]
            ]
    return new, new_results


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_the_resampled_dataset(seed: int) -> None:
    content, results = made_dataset(seed)
    matches = Matches(
        [
            image_matches(
                image,
                [a for a in content["annotations"] if a["image_id"] == image["id"]],
                [r for r in results if r["image_id"] == image["id"]],
                "segm",
            )
            for image in content["images"]
        ]
    )
    once = np.ones((1, len(content["images"])))
    counts = np.concatenate([once, draw_counts(len(content["images"]), 3, seed)])
    by_area = {
        name: matches.precisions(counts, area)
        for name, area in (("AP", "all"), ("APs", "small"), ("APm", "medium"), ("APl", "large"))
    }
    for row, drawn in enumerate(counts):
        new, new_results = resampled(content, results, drawn)
        ids = [image["id"] for image in new["images"]]
        expected = average_precision(new, new_results, ids, "segm")
        ours = {name: float(values[row].mean()) for name, values in by_area.items()}
        ours |= {"AP50": float(by_area["AP"][row, 0]), "AP75": float(by_area["AP"][row, 5])}
        expected.pop("AP_by_category")
        for name, value in expected.items():
            assert ours[name] == pytest.approx(
                np.nan if value is None else value, abs=1e-9, nan_ok=True
            )


def test_one_photo_alone() -> None:
    """The unit matrix of counts gives the average precision of each photo by itself."""
    content, results = made_dataset(1)
    per_image = [
        (
            image,
            [a for a in content["annotations"] if a["image_id"] == image["id"]],
            [r for r in results if r["image_id"] == image["id"]],
        )
        for image in content["images"]
    ]
    matches = Matches([image_matches(*parts, "segm") for parts in per_image])
    alone = matches.precisions(np.eye(len(per_image))).mean(axis=1)
    for value, (image, truths, of_image) in zip(alone, per_image, strict=True):
        one = {**content, "images": [image], "annotations": truths}
        expected = average_precision(one, of_image, [image["id"]], "segm")["AP"]
        assert value == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_draws_and_intervals() -> None:
    counts = draw_counts(50, 2000, seed=3)
    assert (counts.sum(axis=1) == 50).all()
    assert np.array_equal(counts, draw_counts(50, 2000, seed=3))
    assert not np.array_equal(counts, draw_counts(50, 2000, seed=4))
    # The mean of 50 fair coins: the interval of a binomial share.
    coins = np.arange(50) % 2
    low, high = interval(counts @ coins / 50) or (0, 0)
    assert low == pytest.approx(0.5 - 1.96 * np.sqrt(0.25 / 50), abs=0.03)
    assert high == pytest.approx(0.5 + 1.96 * np.sqrt(0.25 / 50), abs=0.03)
    assert interval(np.array([0.1, np.nan])) is None
