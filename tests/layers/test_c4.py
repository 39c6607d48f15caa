import pytest
import torch

from samrot.geometry.groups import C4
from samrot.layers.c4 import C4Conv2d, C4Norm, PoseHead


def turn_fields(fields: torch.Tensor, k: int) -> torch.Tensor:
    """The law's right-hand side: planes turned, orientations rolled."""
    planes = torch.rot90(fields, k, (-2, -1)).unflatten(1, (-1, 4))
    return planes.roll(k, 2).flatten(1, 2)


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("size", [(9, 9), (9, 13), (7, 5)])
def test_layers_obey_the_law(k: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    lift = C4Conv2d(3, 5, 5, stride=2, padding=2, lifting=True).double()
    lifted = lift(image)
    torch.testing.assert_close(
        lift(torch.rot90(image, k, (-2, -1))), turn_fields(lifted, k), rtol=0, atol=1e-10
    )
    norm = C4Norm(5).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    conv = C4Conv2d(5, 4, 3, padding=1).double()
    for layer in (norm, conv):
        torch.testing.assert_close(
            layer(turn_fields(lifted, k)), turn_fields(layer(lifted), k), rtol=0, atol=1e-10
        )
    head = PoseHead(5).double()
    torch.testing.assert_close(
        head(turn_fields(lifted, k)), C4.act_on_logits(head(lifted), k), rtol=0, atol=1e-10
    )


def test_off_centre_stride_is_refused() -> None:
    conv = C4Conv2d(3, 4, 3, stride=2, padding=1, lifting=True)
    with pytest.raises(ValueError, match="off centre"):
        conv(torch.zeros(1, 3, 8, 8))


def test_a_frozen_bank_follows_its_weight_in_every_mode() -> None:
    layer = C4Conv2d(1, 2, 3).requires_grad_(False)
    fields = torch.randn(1, 4, 5, 5)
    with torch.inference_mode():
        layer(fields)
        unversioned = C4Conv2d(1, 2, 3).requires_grad_(False)  # its weight has no version
        before = unversioned(fields)
        unversioned.weight.mul_(2)
        assert torch.equal(unversioned(fields), 2 * before)
    seen = fields.requires_grad_()
    layer(seen).sum().backward()
    assert seen.grad is not None, "what was made in inference mode is differentiated through"
    before = layer(fields).detach()
    layer.weight.mul_(2)
    before = 2 * before
    assert torch.equal(layer(fields), before)
    for _ in range(3):  # new weights, perhaps where the last but one lay
        layer.half()
        layer.float()
        layer.weight.data = layer.weight.data * 2
        before = 2 * before
        torch.testing.assert_close(layer(fields), before, rtol=1e-2, atol=1e-2)
