"""What trainings of a network have in common, plain or behind a canonicalizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import Dataset

from samrot.robust.module import CanonicalizedModule
from samrot.training.fit import TrainingObjective

NETWORK_FILE = "network.safetensors"
CANONICALIZER_FILE = "canonicalizer.safetensors"


class NetworkObjective(TrainingObjective):
    """A network on its own loss; and, with it or alone, the canonicalizer before it.

    Args:
        network: the network; kept as it is, where its parameters require no gradients.
        canonicalizer: what stands before it; None for the plain network.
        task: a task of ``CanonicalizedModule``.
        views: what is trained on; the first of an item is what the network takes.
        save_network: writes its checkpoint.
        save_canonicalizer: likewise.
        statistics: items, and how many at once, that batch norms take their statistics of.
    """

    def __init__(
        self,
        network: nn.Module,
        canonicalizer: nn.Module | None,
        task: str,
        views: Dataset[Any],
        save_network: Callable[[Any, Path], None],
        save_canonicalizer: Callable[[Any, Path], None],
        statistics: tuple[int, int],
    ) -> None:
        model = network
        if canonicalizer is not None:
            model = CanonicalizedModule(network, canonicalizer, task)
        super().__init__(model, views, checkpoint_name=NETWORK_FILE, measure="val_accuracy")
        self.trains_network = any(p.requires_grad for p in network.parameters())
        self.save_network, self.save_canonicalizer = save_network, save_canonicalizer
        self.statistics = statistics

    def scores(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores of a training batch, and the poses where there is a canonicalizer."""
        if not self.trains_network:  # nor are its running statistics
            _network_of(self.model).eval()
        return scores_of(self.model, inputs)

    def refresh_statistics(self, model: nn.Module) -> None:
        """Give the batch norms of what is trained the statistics of the averaged weights.

        The averages of statistics are not those.
        """
        part: Any = model if self.trains_network else model.canonicalizer
        update_bn(self._batches(), part, next(model.parameters()).device)

    def _batches(self) -> Iterator[Tensor]:
        total, size = self.statistics
        for first in range(0, total, size):
            yield torch.stack([self.dataset[n][0] for n in range(first, first + size)])

    def save(self, model: nn.Module, path: Path) -> None:
        """Write the checkpoints that ``samrot evaluate`` reads, of what is trained."""
        if self.trains_network:
            self.save_network(_network_of(model), path)
        if isinstance(model, CanonicalizedModule):
            prefix = path.name.removesuffix(NETWORK_FILE)
            self.save_canonicalizer(
                model.canonicalizer, path.with_name(prefix + CANONICALIZER_FILE)
            )


def _network_of(model: nn.Module) -> nn.Module:
    return model.network if isinstance(model, CanonicalizedModule) else model


def scores_of(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scores of a batch, and the poses where there is a canonicalizer."""
    return model(inputs) if isinstance(model, CanonicalizedModule) else (model(inputs), None)
