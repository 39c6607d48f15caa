"""What goes wrong in the processes that make items, as it was said there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset, default_collate

from samrot.errors import InputError


class ReportingDataset(Dataset[Any]):
    """A dataset that hands over an ``InputError`` in place of the item.

    ``DataLoader`` would put the worker's traceback into it.

    Args:
        dataset: makes the items.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, n: int) -> Any:
        try:
            return self.dataset[n]
        except InputError as error:
            return error


class ReportingCollate:
    """Makes a batch of items, or hands over the first error among them.

    Args:
        collate: makes the batch; None stacks tensors.
    """

    def __init__(self, collate: Callable[[list[Any]], Any] | None) -> None:
        self.collate = collate or default_collate

    def __call__(self, items: list[Any]) -> Any:
        """The batch, or the error."""
        errors = [item for item in items if isinstance(item, InputError)]
        return errors[0] if errors else self.collate(items)
