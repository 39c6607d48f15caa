"""Training sam_mini: the loss falls, the run resumes, views carry exact targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samrot.data.coco import CocoDataset
from samrot.errors import InputError
from samrot.segmenters import load_segmenter
from samrot.segmenters.loading import MINI_VERSIONS
from samrot.segmenters.sam_mini import build_sam_mini, load_imagenet_encoder
from samrot.training.finetune import (
    FinetuneSettings,
    MaskDataSettings,
    TrainedSegmenterSettings,
    finetune,
)
from samrot.training.fit_settings import OptimSettings
from samrot.training.mask_objective import (
    normalised_squares,
    predict_masks_per_prompt,
    prompted_loss,
)
from samrot.training.prompted_views import PromptedViews, ViewSettings


def settings(out: Path, **changes: Any) -> FinetuneSettings:
    optim = OptimSettings(
        steps=4, batch_size=2, warmup_steps=1, learning_rate=1e-3, ema_decay=0.5, bfloat16=False
    )
    values: dict[str, Any] = {
        "view_size": 64, "optim": optim, "workers": 0, "val_every": 2,
        "segmenter": TrainedSegmenterSettings(from_scratch=True),
    }  # fmt: skip
    return FinetuneSettings(out=str(out), **{**values, **changes})


def test_views_carry_exact_targets(scenes: CocoDataset) -> None:
    views = PromptedViews(scenes, 128, ViewSettings(box_jitter=0.0, full_size=256), seed=3)
    total = 0
    for n in range(12):
        view, again = views[n], views[n]
        assert torch.equal(view.image, again.image)
        assert torch.equal(view.masks, again.masks)
        assert view.image.shape == (3, 128, 128)
        height, width = view.content_hw
        assert not view.image[:, height:].any()
        assert not view.image[:, :, width:].any()
        for mask, box, points, labels in zip(
            view.masks.numpy(), view.boxes_xyxy.numpy(), view.points_xy.numpy(),
            view.point_labels.numpy(), strict=True,
        ):  # fmt: skip
            total += 1
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            tight = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * 2
            assert np.abs(tight - box).max() <= 1
            assert labels[0] == 1
            for (x, y), label in zip(points, labels, strict=True):
                if label == 1:
                    assert mask[int(y) // 2, int(x) // 2] > 0
    assert total > 10


def test_an_annotation_without_a_pixel_is_not_pasted(
    scenes: CocoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = PromptedViews(scenes, 64, ViewSettings(paste=1.0, scene_share=0.0), seed=0)

    def empty_photo(random: Any, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        photo = views.photos[image_id]
        return photo, np.zeros((1, *photo.shape[:2]), dtype=np.uint8)

    monkeypatch.setattr(views, "_photo", empty_photo)
    assert len(views[0].masks) == 0


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("version", MINI_VERSIONS)
def test_every_part_learns(version: int, refine: bool) -> None:
    torch.manual_seed(0)
    sam = MINI_VERSIONS[version](64).train()
    views = PromptedViews(None, 64, ViewSettings(point_share=0.5, min_area=20), seed=0)
    batch = [views[n] for n in range(6)]
    embeddings = sam.image_encoder(normalised_squares(sam, batch))
    loss, iou = prompted_loss(sam, embeddings, batch, refine=refine, candidates=True)
    loss.backward()
    assert 0 <= iou <= 1
    silent = {name for name, p in sam.named_parameters() if p.grad is None or not p.grad.any()}
    masks_only = {n for n, _ in sam.named_parameters() if "mask_downscaling" in n}
    assert (silent & masks_only == set()) if refine else (masks_only <= silent)
    assert not {n for n in silent if n.startswith(("image_encoder", "prompt_encoder.drawing"))}


@pytest.mark.slow
def test_the_loss_falls_on_one_batch() -> None:
    torch.manual_seed(0)
    sam = build_sam_mini(64).train()
    load_imagenet_encoder(sam)
    views = PromptedViews(None, 64, ViewSettings(point_share=0.0, min_area=20), seed=0)
    batch = [views[n] for n in range(4)]
    optimizer = torch.optim.AdamW(sam.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        loss, _ = prompted_loss(sam, sam.image_encoder(normalised_squares(sam, batch)), batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < 0.5 * losses[0]


@pytest.mark.parametrize("version", MINI_VERSIONS)
def test_prompts_of_several_photos_decode_as_in_segment_anything(version: int) -> None:
    torch.manual_seed(0)
    sam = MINI_VERSIONS[version](64)
    with torch.no_grad():
        photos = sam.image_encoder(torch.randn(2, 3, 64, 64))
        sparse, dense = sam.prompt_encoder(None, torch.rand(3, 4) * 64, None)
    of_prompt = torch.tensor([0, 0, 1])
    with torch.no_grad():
        masks, ious = predict_masks_per_prompt(sam, photos[of_prompt], sparse, dense, 2)
        for row, photo in enumerate(of_prompt.tolist()):
            expected = sam.mask_decoder.predict_masks(
                photos[photo][None],
                sam.prompt_encoder.get_dense_pe(),
                sparse[row][None],
                dense[row][None],
            )
            torch.testing.assert_close(masks[row], expected[0][0, :2], rtol=0, atol=1e-5)
            torch.testing.assert_close(ious[row], expected[1][0, :2], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_resumes_to_the_same_weights(
    scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = MaskDataSettings(
        images=str(scenes_folder / "images"), annotations=str(scenes_folder / "annotations.json")
    )
    whole = finetune(settings(tmp_path / "whole", data=data, val=data, val_limit=1))
    wanted = settings(tmp_path / "cut", data=data, val=data, val_limit=1)
    steps = iter(range(3))

    def stop_after_3_steps(*arguments: Any, **options: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return prompted_loss(*arguments, **options)

    monkeypatch.setattr("samrot.training.mask_objective.prompted_loss", stop_after_3_steps)
    with pytest.raises(KeyboardInterrupt):
        finetune(wanted)
    monkeypatch.undo()
    assert finetune(wanted).read_bytes() == whole.read_bytes()
    assert "val_mean_iou" in (tmp_path / "cut" / "log.csv").read_text()
    assert load_segmenter("sam_mini", checkpoint=whole).name == "sam_mini"


def test_a_limit_leaves_photos_evenly_spaced(scenes_folder: Path, tmp_path: Path) -> None:
    data = MaskDataSettings(
        images=str(scenes_folder / "images"), annotations=str(scenes_folder / "annotations.json")
    )
    limited = settings(tmp_path / "run", data=data, limit=2)
    assert limited.within_limit(5).tolist() == [0, 2]
    assert limited.within_limit(1).tolist() == [0]
    assert limited.within_limit(0).tolist() == []
    assert settings(tmp_path).within_limit(3).tolist() == [0, 1, 2]
    assert len(load_segmenter("sam_mini", checkpoint=finetune(limited)).trained_on) == 2
    with pytest.raises(InputError, match="limit is 2 without photos; give data.images"):
        settings(tmp_path / "scenes", limit=2)
    with pytest.raises(InputError, match="limit is 0; expected"):
        settings(tmp_path / "none", limit=0)


def test_several_datasets_are_one(scenes_folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "left_out.txt"
    names = [path.name for path in sorted((scenes_folder / "images").iterdir())]
    listed.write_text("\n".join(names[:2]))
    folder, annotations = str(scenes_folder / "images"), str(scenes_folder / "annotations.json")
    twice = {"images": [folder, folder], "annotations": [annotations, annotations]}
    one, two = (
        MaskDataSettings(**paths, exclude=str(listed)).load()  # type: ignore[arg-type]
        for paths in ({"images": folder, "annotations": annotations}, twice)
    )
    assert one is not None
    assert two is not None
    assert len(two.images) == 2 * len(one.images) == 2 * (len(names) - 2)
    for image_id, twin in zip(one.image_ids * 2, two.image_ids, strict=True):
        assert np.array_equal(one.read(image_id), two.read(twin))
        pairs = zip(one.instances(image_id), two.instances(twin), strict=True)
        assert all(np.array_equal(one.mask(a), two.mask(b)) for a, b in pairs)
    ids = [annotation["id"] for annotation in two.content["annotations"]]
    assert len(set(ids)) == len(ids)
    with pytest.raises(InputError, match="leave no photo"):
        MaskDataSettings(**twice, include="setup.cfg").load()  # type: ignore[arg-type]


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="view_size is 100; expected a multiple of 32"):
        finetune(settings(tmp_path / "run", view_size=100))
    with pytest.raises(InputError, match="images lists 1 folder and annotations 0 files"):
        finetune(settings(tmp_path / "run", data=MaskDataSettings(images=str(tmp_path))))
    with pytest.raises(InputError, match="does not exist; expected a samrot-sam-mini file"):
        absent = TrainedSegmenterSettings(checkpoint=str(tmp_path / "none"))
        finetune(settings(tmp_path / "run", segmenter=absent))
    assert not (tmp_path / "run").exists()
