"""Records as COCO results: what the scorer takes, and the files in the run folder."""

from __future__ import annotations

import json
from typing import IO, Any

from samrot.data.coco import CocoDataset
from samrot.geometry.rle import RLE


def coco_results(
    image_id: int, result: dict[str, Any], dataset: CocoDataset
) -> dict[str, list[dict[str, Any]]]:
    """The result of one view as COCO results, in the upright frame.

    Args:
        image_id: id of the photo.
        result: result of a record, by one method at one view.
        dataset: dataset of the photo.

    Returns:
        ``segm``, and ``bbox`` where the boxes are not those of the ground truth.
    """
    size = list(dataset.size_hw(image_id))
    shared = [{"image_id": image_id, "category_id": c} for c in result["category_ids"]]
    # No bbox beside a mask: pycocotools would take its area from it.
    masks = [
        {**common, "segmentation": RLE(size=size, counts=counts), "score": score}
        for common, counts, score in zip(shared, result["masks"], result["scores"], strict=True)
    ]
    if "boxes_xywh" not in result:
        return {"segm": masks}
    boxes = [
        {**common, "bbox": box, "score": score}
        for common, box, score in zip(
            shared, result["boxes_xywh"], result["box_scores"], strict=True
        )
    ]
    return {"segm": masks, "bbox": boxes}


class ResultsFile:
    """A JSON list that is written record by record.

    Args:
        file: open for writing.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.separator = "[\n"

    def write(self, results: list[dict[str, Any]]) -> None:
        """Append some of the list."""
        for result in results:
            self.file.write(self.separator + json.dumps(result, allow_nan=False))
            self.separator = ",\n"

    def close(self) -> None:
        """End the list; the file stays open."""
        self.file.write("[]\n" if self.separator == "[\n" else "\n]\n")
