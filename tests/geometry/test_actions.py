import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from samrot.geometry import actions

SIZES = [(5, 8), (8, 5), (1, 1), (1, 7), (6, 6), (480, 640)]


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(4))
def test_twice_is_the_sum(size_hw: tuple[int, int], first: int, second: int) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    points = random.integers(0, 64 * min(size_hw) + 1, (9, 2)) / 64
    boxes = np.concatenate([points, points + 1.5], axis=1)
    middle = actions.rotate_size(size_hw, first)
    both = (first + second) % 4

    twice = actions.rotate_image(actions.rotate_image(image, first), second)
    assert np.array_equal(twice, actions.rotate_image(image, both))
    assert twice.flags.c_contiguous
    for act, coordinates in ((actions.rotate_points, points), (actions.rotate_boxes, boxes)):
        turned = act(act(coordinates, first, size_hw), second, middle)
        assert np.array_equal(turned, act(coordinates, both, size_hw))


def test_one_turn_in_closed_form() -> None:
    size_hw = (480, 640)
    assert actions.rotate_points(np.array([10.0, 20.0]), 1, size_hw).tolist() == [20.0, 630.0]
    assert actions.rotate_pixels(np.array([10, 20]), 1, size_hw).tolist() == [20, 629]
    box = actions.rotate_boxes(np.array([10.0, 20.0, 110.0, 60.0]), 1, size_hw)
    assert box.tolist() == [20.0, 530.0, 60.0, 630.0]


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("size_hw", [(5, 8), (7, 4)])
def test_coordinates_follow_the_pixels(k: int, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    for y in range(height):
        for x in range(width):
            image = np.zeros(size_hw, dtype=np.uint8)
            image[y, x] = 1
            turned = actions.rotate_image(image, k)
            new_x, new_y = actions.rotate_pixels(np.array([x, y]), k, size_hw)
            assert turned[new_y, new_x] == 1
            box = actions.rotate_boxes(np.array([x, y, x + 1.0, y + 1.0]), k, size_hw)
            assert box.tolist() == [new_x, new_y, new_x + 1, new_y + 1]


@pytest.mark.parametrize("k", range(4))
def test_numpy_torch_and_rle_agree(k: int) -> None:
    mask = np.random.default_rng(1).random((5, 8)) > 0.5
    turned = actions.rotate_image(mask, k)
    assert np.array_equal(actions.rotate_masks(mask[None], k)[0], turned)
    assert torch.equal(actions.rotate_tensor(torch.from_numpy(mask), k), torch.from_numpy(turned))
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {**rle, "counts": rle["counts"].decode()}
    for given in (rle, text):
        result = actions.rotate_rle(given, k)
        assert type(result["counts"]) is type(given["counts"])
        assert np.array_equal(coco_mask.decode(result).astype(bool), turned)


@pytest.mark.parametrize("k", range(-1, 5))
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(5, 8), (70, 33, 3), (5, 8, 1), (4, 3, 2), (0, 4), (1, 1)])
def test_every_kind_of_pixel_is_moved(k: int, dtype: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 200, shape).astype(dtype)
    expected = np.rot90(image, k)
    for given in (image, np.asfortranarray(image), np.repeat(image, 2, axis=1)[:, ::2]):
        turned = actions.rotate_image(given, k)
        assert turned.dtype == image.dtype
        assert turned.flags.c_contiguous
        assert np.array_equal(turned, expected)


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (0, 3, 5, 8), (5, 8)])
def test_every_kind_of_tensor_is_turned(k: int, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 9).to(dtype)
    expected = torch.rot90(tensor, k, (-2, -1))
    assert torch.equal(actions.rotate_tensor(tensor, k), expected)
    assert torch.equal(actions.rotate_tensor(tensor.mT, k), torch.rot90(tensor.mT, k, (-2, -1)))
    if dtype == torch.float32:
        leaf = tensor.clone().requires_grad_()
        turned = actions.rotate_tensor(leaf, k)
        assert torch.equal(turned, expected)
        turned.sum().backward()
        assert torch.equal(leaf.grad, torch.ones_like(leaf))


def test_arguments_are_not_mutated() -> None:
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    kept = boxes.copy()
    for k in range(4):
        actions.rotate_boxes(boxes, k, (10, 20))[:] = -1
    assert np.array_equal(boxes, kept)


def test_grid_makes_turned_coordinates_equal() -> None:
    x = np.random.default_rng(2).uniform(0, 640, (1000, 2)).round(2)
    there_and_back = 640.0 - (640.0 - x)
    assert not np.array_equal(there_and_back, x)  # why the grid is needed
    assert np.array_equal(actions.snap_to_grid(there_and_back), actions.snap_to_grid(x))
