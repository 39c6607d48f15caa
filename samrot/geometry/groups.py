"""Finite groups of image symmetries, as algebra: no pixels here.

A group is its Cayley table. Elements are the integers 0 .. order-1, and 0 is the identity, so a
further group (D4, say) is one more table, and one more case in ``actions``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """A finite group.

    Args:
        name: for configs and messages.
        table: ``table[g][h]`` is the element that acts as h first, then g.
    """

    name: str
    table: tuple[tuple[int, ...], ...]

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.table)

    def compose(self, g: int, h: int) -> int:
        """The element that acts as h first, then g."""
        return self.table[g][h]

    def inverse(self, g: int) -> int:
        """The element that undoes g."""
        return self.table[g].index(0)

    def act_on_logits(self, logits: Tensor, g: int) -> Tensor:
        """Regular representation: what the pose logits of an image become when g acts on it.

        Entry h of the result is entry g^-1 h of ``logits``; for C4 that is ``roll(logits, g)``.

        Args:
            logits: (..., |G|).
        """
        g_inverse = self.inverse(g)
        source = [self.compose(g_inverse, h) for h in range(self.order)]
        return logits[..., torch.tensor(source, device=logits.device)]


def cyclic_group(order: int) -> Group:
    """C_n: element k is k turns of 360/n degrees, counter-clockwise as displayed."""
    table = tuple(tuple((g + h) % order for h in range(order)) for g in range(order))
    return Group(name=f"C{order}", table=table)


C4 = cyclic_group(4)
