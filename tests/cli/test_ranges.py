"""Numbers out of range are refused by name, before any work."""

from __future__ import annotations

import numpy as np
import pytest

from samrot.cli import main
from samrot.errors import InputError, check_count

EVALUATE = ["evaluate", "--data.images", "x", "--data.annotations", "x", "--out", "x"]
TRAIN = ["train", "--out", "x"]
FINETUNE = ["finetune", "--out", "x"]
DIAGNOSE = ["diagnose", "--out", "x"]
SEGMENT = ["segment", "x", "--out", "x", "--everything", "true"]


@pytest.mark.parametrize("value", [1.5, "2", True, float("nan"), float("inf"), None, 0, [1]])
def test_a_count_is_a_whole_number(value: object) -> None:
    with pytest.raises(InputError, match="steps is .*; expected a (whole )?number of at least 1"):
        check_count("steps", value, 1)  # type: ignore[arg-type]
    check_count("steps", np.int64(3), 1, 3)


@pytest.mark.parametrize(
    ("command", "option", "value", "message"),
    [
        (EVALUATE, "prompts.max_per_image", "0", "prompts.max_per_image is 0; expected a number"),
        (EVALUATE, "prompts.min_score", ".nan", "prompts.min_score is nan; expected"),
        (EVALUATE, "segmenter.refine", "-1", "segmenter.refine is -1; expected a number of at"),
        (EVALUATE, "images_per_batch", "0", "images_per_batch is 0; expected a number of at leas"),
        (EVALUATE, "limit", "-3", "limit is -3; expected a number of at least 1"),
        (EVALUATE, "devices", "0", "devices is 0; expected a number of at least 1"),
        (TRAIN, "optim.steps", "0", "optim.steps is 0; expected a number of at least 1"),
        (TRAIN, "optim.batch_size", "0", "optim.batch_size is 0; expected a number of at least"),
        (TRAIN, "optim.ema_decay", "1.5", "optim.ema_decay is 1.5; expected a number of at leas"),
        (TRAIN, "optim.learning_rate", "-1", "optim.learning_rate is -1.0; expected a number of"),
        (TRAIN, "optim.learning_rate", ".inf", "optim.learning_rate is inf; expected a number of"),
        (TRAIN, "optim.warmup_steps", "-1", "optim.warmup_steps is -1; expected a number of at"),
        (TRAIN, "val_limit", "0", "val_limit is 0; expected a number of at least 1"),
        (TRAIN, "val_every", "0", "val_every is 0; expected a number of at least 1"),
        (TRAIN, "workers", "-1", "workers is -1; expected a number of at least 0"),
        (TRAIN, "seed", "-1", "seed is -1; expected a number of at least 0"),
        (TRAIN, "cutmix", "2", "cutmix is 2.0; expected a number of at least 0 and at most 1"),
        (TRAIN, "augmentation.tilt_deg", "50", "augmentation.tilt_deg is 50.0; expected a number"),
        (TRAIN, "augmentation.crop_area", "[0, 1]", "augmentation.crop_area is 0.0; expected"),
        (TRAIN, "augmentation.crop_area", "[0.9, 0.2]", "expected the smaller share first"),
        (TRAIN, "augmentation.erase", "-0.1", "augmentation.erase is -0.1; expected a number of"),
        (FINETUNE, "refine", "1.5", "refine is 1.5; expected a number of at least 0 and at most 1"),
        (FINETUNE, "views.scale", "[2, 1]", "views.scale is (2.0, 1.0); expected the smaller"),
        (FINETUNE, "views.boxes_per_view", "0", "views.boxes_per_view is 0; expected a number"),
        (DIAGNOSE, "worst", "0", "worst is 0; expected a number of at least 1"),
        (SEGMENT, "grid.points_per_side", "0", "grid.points_per_side is 0; expected a number of"),
        (SEGMENT, "grid.pred_iou_thresh", ".nan", "grid.pred_iou_thresh is nan; expected a numbe"),
        (["demo"], "images", "0", "images is 0; expected a number of at least 1"),
    ],
)
def test_out_of_range(
    command: list[str], option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, f"--{option}", value]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
