import numpy as np
import pytest
import torch

from samrot.geometry import exact
from samrot.geometry.groups import D4

SIZES = [(5, 8), (8, 5), (1, 1), (1, 7), (6, 6), (480, 640)]


@pytest.mark.parametrize("size_hw", SIZES)
@pytest.mark.parametrize("first", range(8))
@pytest.mark.parametrize("second", range(8))
def test_twice_is_the_product(size_hw: tuple[int, int], first: int, second: int) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    points = random.integers(0, 64 * min(size_hw) + 1, (9, 2)) / 64
    boxes = np.concatenate([points, points + 1.5], axis=1)
    middle = exact.move_size(size_hw, first)
    both = D4.compose(second, first)

    twice = exact.move_image(exact.move_image(image, first), second)
    assert np.array_equal(twice, exact.move_image(image, both))
    assert twice.flags.c_contiguous
    for act, coordinates in ((exact.move_points, points), (exact.move_boxes, boxes)):
        turned = act(act(coordinates, first, size_hw), second, middle)
        assert np.array_equal(turned, act(coordinates, both, size_hw))


def test_one_turn_in_closed_form() -> None:
    size_hw = (480, 640)
    assert exact.move_points(np.array([10.0, 20.0]), 1, size_hw).tolist() == [20.0, 630.0]
    assert exact.move_pixels(np.array([10, 20]), 1, size_hw).tolist() == [20, 629]
    box = exact.move_boxes(np.array([10.0, 20.0, 110.0, 60.0]), 1, size_hw)
    assert box.tolist() == [20.0, 530.0, 60.0, 630.0]


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("size_hw", [(5, 8), (7, 4)])
def test_coordinates_follow_the_pixels(k: int, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    for y in range(height):
        for x in range(width):
            image = np.zeros(size_hw, dtype=np.uint8)
            image[y, x] = 1
            turned = exact.move_image(image, k)
            new_x, new_y = exact.move_pixels(np.array([x, y]), k, size_hw)
            assert turned[new_y, new_x] == 1
            box = exact.move_boxes(np.array([x, y, x + 1.0, y + 1.0]), k, size_hw)
            assert box.tolist() == [new_x, new_y, new_x + 1, new_y + 1]


@pytest.mark.parametrize("k", range(8))
def test_numpy_and_torch_agree(k: int) -> None:
    mask = np.random.default_rng(1).random((5, 8)) > 0.5
    turned = exact.move_image(mask, k)
    assert np.array_equal(exact.move_masks(mask[None], k)[0], turned)
    assert torch.equal(exact.move_tensor(torch.from_numpy(mask), k), torch.from_numpy(turned))


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(5, 8), (70, 33, 3), (5, 8, 1), (4, 3, 2), (0, 4), (1, 1)])
def test_every_kind_of_pixel_is_moved(k: int, dtype: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 200, shape).astype(dtype)
    expected = np.rot90(image[:, ::-1] if k >= 4 else image, k)
    for given in (image, np.asfortranarray(image), np.repeat(image, 2, axis=1)[:, ::2]):
        turned = exact.move_image(given, k)
        assert turned.dtype == image.dtype
        assert turned.flags.c_contiguous
        assert np.array_equal(turned, expected)


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (0, 3, 5, 8), (5, 8)])
def test_every_kind_of_tensor_is_turned(k: int, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 9).to(dtype)
    expected = reference(tensor, k)
    assert torch.equal(exact.move_tensor(tensor, k), expected)
    assert torch.equal(exact.move_tensor(tensor.mT, k), reference(tensor.mT, k))
    if dtype == torch.float32:
        leaf = tensor.clone().requires_grad_()
        turned = exact.move_tensor(leaf, k)
        assert torch.equal(turned, expected)
        turned.sum().backward()
        assert torch.equal(leaf.grad, torch.ones_like(leaf))


def test_arguments_are_not_mutated() -> None:
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    kept = boxes.copy()
    for k in range(8):
        exact.move_boxes(boxes, k, (10, 20))[:] = -1
    assert np.array_equal(boxes, kept)


def reference(tensor: torch.Tensor, element: int) -> torch.Tensor:
    return torch.rot90(tensor.flip(-1) if element >= 4 else tensor, element % 4, (-2, -1))
