import numpy as np
import pytest
import torch

from samrot.canonicalizers.thumbnail import FILL, FRAMES, Thumbnail
from samrot.errors import InputError
from samrot.geometry.exact import move_image
from tests.conftest import random_photo


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("size_hw", [(480, 640), (63, 40), (1, 1), (5, 7), (100, 3)])
@pytest.mark.parametrize("size", [32, 33])
def test_commutes_with_turns_to_the_bit(frame: str, size_hw: tuple[int, int], size: int) -> None:
    thumbnail = Thumbnail(size, frame)
    image = random_photo(0, *size_hw)
    upright = thumbnail(image)
    assert upright.shape == (3 if frame == "squares" else 1, 3, size, size)
    for k in range(4):
        turned = thumbnail(move_image(image, k))
        expected = np.rot90(upright, k, (2, 3))
        # A turn may exchange the squares at the start and at the end.
        assert any(np.array_equal(turned, order) for order in (expected, expected[::-1]))


def test_is_an_area_average() -> None:
    image = random_photo(1, 32, 48)
    expected = image[:, 8:40].reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(Thumbnail(8)(image)[0], expected, atol=1e-3)


def test_squares_lie_along_the_longer_side() -> None:
    image = random_photo(1, 32, 48)
    views = Thumbnail(8, "squares")(image)
    for view, left in zip(views, (0, 8, 16), strict=True):
        np.testing.assert_allclose(view, Thumbnail(8)(image[:, left : left + 32])[0], atol=1e-3)


def test_square_hides_the_aspect_ratio() -> None:
    image = random_photo(2, 32, 32)
    wider = np.concatenate([random_photo(3, 32, 8), image, random_photo(4, 32, 8)], axis=1)
    assert np.array_equal(Thumbnail(16)(wider), Thumbnail(16)(image))


def test_letterbox_has_grey_bars() -> None:
    sampled = Thumbnail(16, "letterbox")(np.zeros((8, 16, 3), dtype=np.uint8))[0]
    np.testing.assert_allclose(sampled[:, :4], FILL)
    np.testing.assert_allclose(sampled[:, 4:12], 0, atol=1e-3)


def test_bad_settings() -> None:
    with pytest.raises(
        InputError, match="frame is 'round'; expected one of: square, squares, letterbox"
    ):
        Thumbnail(16, "round")
    with pytest.raises(InputError, match="size is 0"):
        Thumbnail(0)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("size_hw", [(32, 32), (40, 63), (5, 7)])
def test_a_batch_for_training_is_sampled_alike(frame: str, size_hw: tuple[int, int]) -> None:
    thumbnail = Thumbnail(33, frame)
    photos = [random_photo(n, *size_hw) for n in range(2)]
    batch = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).double()
    sampled = thumbnail.of_tensor(batch)
    for photo, found in zip(photos, sampled, strict=True):
        views = thumbnail(photo)
        np.testing.assert_allclose(found.numpy(), views[len(views) // 2], atol=1e-9)
