"""Each objective's config runs, and moves the weights that it should and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from segment_anything.modeling import Sam
from torch import Tensor

from samrot import weights
from samrot.cli import main
from samrot.data.coco import CocoDataset
from samrot.robust.straight_through import straight_through
from samrot.segmenters import load_segmenter, save_sam
from samrot.segmenters.sam import SamSegmenter
from samrot.training.losses import orbit_contrastive_loss
from samrot.training.mask_objective import prompted_loss
from samrot.training.prompted_views import PromptedView, PromptedViews
from tests.conftest import small_sam

CONFIGS = Path(__file__).parents[2] / "samrot" / "configs"
QUICK = [
    "--optim.steps", "3", "--optim.batch_size", "4", "--optim.warmup_steps", "0",
    "--optim.ema_decay", "0.0", "--optim.accumulate", "2", "--workers", "0",
    "--optim.bfloat16", "false", "--optim.learning_rate", "0.01",
]  # fmt: skip
SMALL_CANONICALIZER = ["--canonicalizer.size", "33", "--canonicalizer.frame", "square"]


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The parts of a model (first words of its tensors' names) that are not what they were."""
    assert before.keys() == after.keys()
    return {
        name.split(".")[0] for name in before if not torch.equal(before[name], after[name].float())
    }


def bundled_mini() -> dict[str, torch.Tensor]:
    return weights.load(weights.bundled("sam_mini.safetensors"), format_name="samrot-sam-mini")[0]


@pytest.fixture
def turned_photos(tmp_path: Path) -> Path:
    """Photos stored sideways, with EXIF tags that say so on half of them."""
    folder = tmp_path / "turned"
    folder.mkdir()
    for i in range(8):
        image = Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 48, 3), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 2 else 1
        image.save(folder / f"{i}.jpg", exif=exif)
    return folder


@pytest.mark.parametrize("config", ["prior", "contrastive", "prior_exif"])
def test_thumbnail_objectives_need_no_segmenter(
    config: str, scenes_folder: Path, turned_photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def never(*_: object) -> None:
        raise AssertionError("a segmenter was loaded")

    monkeypatch.setattr(Sam, "__init__", never)
    photos = turned_photos if config == "prior_exif" else scenes_folder / "images"
    states = []
    for steps in ("1", "3"):
        out = tmp_path / steps
        code = main(
            ["train", "--config", str(CONFIGS / f"{config}.yaml"), "--data.images", f"[{photos}]",
             "--out", str(out), *QUICK, "--optim.steps", steps, *SMALL_CANONICALIZER]
        )  # fmt: skip
        assert code == 0
        states.append(load_file(out / "canonicalizer.safetensors"))
    assert all(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_ones_own_photos_start_from_the_bundled_weights(
    scenes_folder: Path, tmp_path: Path
) -> None:
    code = main(
        ["train", "--config", str(CONFIGS / "custom.yaml"),
         "--data.images", f"[{scenes_folder / 'images'}]", "--out", str(tmp_path / "run"), *QUICK,
         "--optim.steps", "1", "--optim.learning_rate", "0"]
    )  # fmt: skip
    assert code == 0
    trained = load_file(tmp_path / "run" / "canonicalizer.safetensors")
    bundled = load_file(weights.bundled("canonicalizer_c4.safetensors"))
    assert all(torch.equal(trained[name], bundled[name]) for name in bundled)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["task", "task_prior"])
def test_through_a_segmenter(config: str, scenes_folder: Path, tmp_path: Path) -> None:
    before = None
    for steps in ("1", "3"):
        out = tmp_path / steps
        code = main(
            ["train", "--config", str(CONFIGS / f"{config}.yaml"),
             "--data.images", f"[{scenes_folder / 'images'}]",
             "--data.annotations", str(scenes_folder / "annotations.json"), "--out", str(out),
             *QUICK, "--optim.steps", steps, *SMALL_CANONICALIZER, "--task.view_size", "64",
             "--optim.bfloat16", "true"]
        )  # fmt: skip
        assert code == 0
        after = load_file(out / "canonicalizer.safetensors")
        if before is not None:
            still = {name for name in after if torch.equal(before[name], after[name])}
            assert not still
        before = after
    sam = tmp_path / "3" / "sam_mini.safetensors"
    if config == "task":
        assert not sam.exists()
    else:
        assert moved(bundled_mini(), load_file(sam)) == {"mask_decoder"}


def test_photos_that_are_left_out_are_not_segmented(
    scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Spied(PromptedViews):
        def __init__(self, dataset: CocoDataset, *arguments: Any, **options: Any) -> None:
            seen.extend(dataset.image_path(image_id).name for image_id in dataset.image_ids)
            super().__init__(dataset, *arguments, **options)

    monkeypatch.setattr("samrot.training.train.PromptedViews", Spied)
    names = sorted(path.name for path in (scenes_folder / "images").iterdir())
    held_out = tmp_path / "held_out.txt"
    held_out.write_text(names[0])
    code = main(
        ["train", "--config", str(CONFIGS / "task.yaml"), *QUICK, *SMALL_CANONICALIZER,
         "--data.images", f"[{scenes_folder / 'images'}]", "--data.exclude", str(held_out),
         "--data.annotations", str(scenes_folder / "annotations.json"),
         "--out", str(tmp_path / "run"), "--task.view_size", "64"]
    )  # fmt: skip
    assert code == 0
    assert sorted(seen) == names[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ("finetune", {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ("finetune_c4", {"image_encoder", "prompt_encoder", "mask_decoder"}),
        ("finetune_decoder", {"mask_decoder"}),
        ("finetune_lora", {"image_encoder", "mask_decoder"}),
    ],
)
def test_finetuning(config: str, parts: set[str], scenes_folder: Path, tmp_path: Path) -> None:
    if config == "finetune_lora":
        pytest.importorskip("peft", reason="peft is not installed")
    code = main(
        ["finetune", "--config", str(CONFIGS / f"{config}.yaml"),
         "--data.images", str(scenes_folder / "images"),
         "--data.annotations", str(scenes_folder / "annotations.json"),
         "--out", str(tmp_path / "run"), *QUICK, "--segmenter.name", "sam_mini",
         "--view_size", "64", "--views.min_area", "20"]
    )  # fmt: skip
    assert code == 0
    path = tmp_path / "run" / "sam_mini.safetensors"
    assert moved(bundled_mini(), load_file(path)) == parts
    assert load_segmenter("sam_mini", checkpoint=path).name == "sam_mini"


@pytest.mark.slow
def test_bfloat16_leaves_the_prompts_alone(
    scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounded to bfloat16, boxes of a 512-px view would be off by up to two pixels."""
    seen = []

    def spy(sam: Sam, embeddings: Tensor, views: list[PromptedView], **options: Any) -> Any:
        seen.extend([(view.boxes_xyxy.dtype, view.points_xy.dtype) for view in views])
        assert embeddings.dtype == torch.bfloat16
        return prompted_loss(sam, embeddings, views, **options)

    monkeypatch.setattr("samrot.training.mask_objective.prompted_loss", spy)
    code = main(
        ["finetune", "--data.images", str(scenes_folder / "images"),
         "--data.annotations", str(scenes_folder / "annotations.json"),
         "--out", str(tmp_path / "run"), *QUICK, "--view_size", "64", "--optim.bfloat16", "true"]
    )  # fmt: skip
    assert code == 0
    assert set(seen) == {(torch.float32, torch.float32)}


@pytest.mark.slow
def test_kept_embeddings_change_nothing(scenes_folder: Path, tmp_path: Path) -> None:
    for cache in ("true", "false"):
        code = main(
            ["finetune", "--data.images", str(scenes_folder / "images"),
             "--data.annotations", str(scenes_folder / "annotations.json"),
             "--out", str(tmp_path / cache), *QUICK, "--view_size", "64",
             "--optim.learning_rate", "0.0001", "--segmenter.trained", "decoder",
             "--views.distinct", "5", "--cache_embeddings", cache]
        )  # fmt: skip
        assert code == 0
    files = [tmp_path / cache / "sam_mini.safetensors" for cache in ("true", "false")]
    assert len(list((tmp_path / "true" / "embeddings").iterdir())) == 5
    kept, fresh = (load_file(path) for path in files)
    for name in fresh:
        torch.testing.assert_close(kept[name], fresh[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["all", "lora"])
def test_an_official_sam_is_saved_in_the_official_format(
    trained: str, scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trained == "lora":
        pytest.importorskip("peft", reason="peft is not installed")
    sam = small_sam()
    save_sam(sam, tmp_path / "start.pth")
    monkeypatch.setattr(
        "samrot.training.finetune.load_segmenter", lambda *_, **__: SamSegmenter(small_sam())
    )
    code = main(
        ["finetune", "--data.images", str(scenes_folder / "images"),
         "--data.annotations", str(scenes_folder / "annotations.json"),
         "--out", str(tmp_path / "run"), *QUICK, "--optim.steps", "1", "--optim.batch_size", "2",
         "--segmenter.name", "sam_vit_b", "--segmenter.trained", trained]
    )  # fmt: skip
    assert code == 0
    state = torch.load(tmp_path / "run" / "sam_vit_b.pth", weights_only=True)
    small_sam().load_state_dict(state)
    start = torch.load(tmp_path / "start.pth", weights_only=True)
    assert "mask_decoder" in moved(start, state)
    assert "image_encoder" in moved(start, state)


def test_straight_through_is_hard_forward_and_soft_backward() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], requires_grad=True)
    chosen = straight_through(logits)
    assert chosen.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    values = torch.tensor([3.0, 1.0, 4.0, 1.0])
    (chosen * values).sum().backward()
    soft = torch.tensor([[2.0, 1.0, 0.0, -1.0]], requires_grad=True)
    (soft.softmax(-1) * values).sum().backward()
    assert torch.allclose(logits.grad, soft.grad)  # type: ignore[arg-type]


def test_contrastive_loss_is_least_for_orthogonal_turns() -> None:
    assert orbit_contrastive_loss(torch.eye(4)[None]) == 0
    assert orbit_contrastive_loss(torch.ones(2, 4, 3)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beta", "0"], "beta and task.weight are both 0"),
        (["--beta", "-1"], "beta is -1.0; expected a number of at least 0"),
        (["--contrastive", "1"], "contrastive is 1.0 for 'gwrn'"),
        (["--task.weight", "1"], "task.weight is set, but data.annotations is not"),
        (["--prior", "[0.5, 0.5, 0, 0]"], "set cutmix to 0"),
    ],
)
def test_bad_train_settings(
    options: list[str], message: str, scenes_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    photos = f"[{scenes_folder / 'images'}]"
    code = main(["train", "--data.images", photos, "--out", str(tmp_path / "run"), *options])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--segmenter.trained", "none"], "segmenter.trained is 'none'"),
        (["--cache_embeddings", "true"], "only what repeats can be kept"),
        (["--views.distinct", "0"], "views.distinct is 0"),
        (["--segmenter.name", "grabcut"], "to be trained, but grabcut is no segment_anything"),
        (["--optim.accumulate", "3"], "optim.batch_size is 8; expected a multiple of"),
        (["--device", "abacus"], "device is 'abacus'"),
    ],
)
def test_bad_finetune_settings(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finetune", "--out", str(tmp_path / "run"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
