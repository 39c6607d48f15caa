"""What trainings of a network have in common, plain or behind a canonicalizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import Dataset

from samrot.errors import InputError, check_range
from samrot.robust.module import CanonicalizedModule
from samrot.training.fit_settings import FitSettings
from samrot.training.objective import TrainingObjective

NETWORK_FILE = "network.safetensors"
CANONICALIZER_FILE = "canonicalizer.safetensors"


@dataclass(kw_only=True)
class NetworkFitSettings(FitSettings):
    """What every training of a network has.

    Batch norm in the networks makes a step depend on how many processes share a batch.

    Args:
        val_share: share of what is trained on, evenly spaced, that is kept aside to measure
            accuracy on.
        label_smoothing: of the cross-entropy.
    """

    val_share: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("val_share", self.val_share, 0, 0.5)
        check_range("label_smoothing", self.label_smoothing, 0, 1)
        optim = self.optim
        if optim.batch_size < 2 * optim.accumulate * self.devices * self.nodes:
            raise InputError(
                f"optim.batch_size is {optim.batch_size}; expected at least 2 for each of devices "
                "x nodes x optim.accumulate: batch norm needs them"
            )

    def split(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of what is trained on, and of what is kept aside, of so many items."""
        held = np.diff(np.floor(np.arange(length + 1) * self.val_share)) > 0
        return np.flatnonzero(~held), np.flatnonzero(held)


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
        canonicalizer_speed: factor of the learning rate of the canonicalizer.
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
        canonicalizer_speed: float = 1.0,
    ) -> None:
        model = network
        if canonicalizer is not None:
            model = CanonicalizedModule(network, canonicalizer, task)
        super().__init__(model, views, checkpoint_name=NETWORK_FILE, measure="val_accuracy")
        self.trains_network = any(p.requires_grad for p in network.parameters())
        self.save_network, self.save_canonicalizer = save_network, save_canonicalizer
        self.statistics = statistics
        self.canonicalizer_speed = canonicalizer_speed

    def learning_rate_scales(self) -> list[tuple[nn.Module, float]]:
        """See ``TrainingObjective``."""
        if not isinstance(self.model, CanonicalizedModule):
            return super().learning_rate_scales()
        return [
            (self.model.network, 1.0),
            (self.model.canonicalizer, self.canonicalizer_speed),
        ]

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
