import torch

from samrot.geometry.groups import C4, cyclic_group


def test_group_axioms() -> None:
    for group in (C4, cyclic_group(8)):
        elements = range(group.order)
        for g in elements:
            assert group.compose(g, 0) == group.compose(0, g) == g
            assert group.compose(g, group.inverse(g)) == 0
            for h in elements:
                for k in elements:
                    left = group.compose(group.compose(g, h), k)
                    assert left == group.compose(g, group.compose(h, k))


def test_logits_roll() -> None:
    logits = torch.arange(8.0).reshape(2, 4)
    for k in range(4):
        torch.testing.assert_close(C4.act_on_logits(logits, k), logits.roll(k, -1))
