"""Whether a weight is still what it was, for what is computed from it and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class SeenWeight:
    """A weight as it was when it was seen.

    Torch counts changes, but for those in place through ``weight.data``, which are not noticed.

    Args:
        tensor: the weight without its gradient: while it is held, no other lies at its address.
        version: how often it had been changed; 0 of one made in inference mode, which has no count.
    """

    tensor: Tensor
    version: int

    @classmethod
    def of(cls, weight: Tensor) -> SeenWeight:
        """The weight as it is now."""
        return cls(weight.detach(), _version(weight))

    def is_still(self, weight: Tensor) -> bool:
        """Whether a weight is that one, in the same place, type and version."""
        return (
            self.tensor.data_ptr() == weight.data_ptr()
            and self.tensor.device == weight.device
            and self.tensor.dtype == weight.dtype
            and self.version == _version(weight)
        )


def _version(weight: Tensor) -> int:
    return 0 if weight.is_inference() else weight._version
