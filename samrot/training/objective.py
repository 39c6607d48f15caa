"""What a training optimises: what is trained, on which items, with which loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset


class TrainingObjective(nn.Module):
    """What is trained, on what, and how it is judged. Subclasses fill in the rest.

    Args:
        model: the module whose weights are trained, averaged and saved; parameters that do not
            require gradients are left alone.
        dataset: an endless, repeatable stream: item n is a function of n and the seed alone.
        checkpoint_name: file of the averaged weights in the run folder.
        measure: name of the validation metric, higher is better, that picks the best checkpoint.
    """

    def __init__(
        self, model: nn.Module, dataset: Dataset[Any], *, checkpoint_name: str, measure: str
    ) -> None:
        super().__init__()
        self.model = model
        self.dataset = dataset
        self.checkpoint_name = checkpoint_name
        self.measure = measure

    collate: Callable[[list[Any]], Any] | None = None

    def learning_rate_scales(self) -> list[tuple[nn.Module, float]]:
        """Parts of the model, disjoint, and the factor of the learning rate of each."""
        return [(self, 1.0)]

    def forward(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """The mean loss of the items of a batch, and what to show of it.

        Each item weighs the same, whatever else is in the batch: that is what makes the number of
        processes irrelevant. Losses that are not to be shown are left out; NaN is skipped.
        """
        raise NotImplementedError

    def validate(self, model: nn.Module, rank: int, world_size: int) -> Mapping[str, Tensor]:
        """Sums over this process's share of the validation items: ``measure`` and ``count``.

        Returns:
            Empty where there is nothing to validate on.
        """
        raise NotImplementedError

    def save(self, model: nn.Module, path: Path) -> None:
        """Write the checkpoint that users load."""
        raise NotImplementedError
