"""What is set of every training: its steps, its batches, its learning rate, and where it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from samrot.errors import check_choice, check_count, check_range

SCHEDULES = ("cosine", "constant")


@dataclass(kw_only=True)
class OptimSettings:
    """How it is trained: AdamW, linear warm-up, a schedule, averaged weights.

    Args:
        steps: optimiser steps; a finished run goes on to more of them where the schedule is
            constant (the course of a cosine depends on its end).
        schedule: learning rate after the warm-up: cosine (down to 0 at the last step) or constant.
        batch_size: items per step, over all processes.
        accumulate: pieces that each process cuts its share of a batch into, to save memory.
        learning_rate: learning rate at its peak.
        weight_decay: weight decay of AdamW.
        warmup_steps: linear warm-up.
        ema_decay: decay of the exponential moving average of the weights, which is what is saved.
        bfloat16: autocast to bfloat16; by default where the device has instructions for it.
    """

    steps: int = 4000
    schedule: str = "cosine"
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    ema_decay: float = 0.998
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            check_count(f"optim.{name}", getattr(self, name), 1)
        check_choice("optim.schedule", self.schedule, SCHEDULES)
        check_count("optim.warmup_steps", self.warmup_steps, 0)
        check_range("optim.learning_rate", self.learning_rate, 0)
        check_range("optim.weight_decay", self.weight_decay, 0)
        check_range("optim.ema_decay", self.ema_decay, 0, 1)

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then the schedule."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(kw_only=True)
class FitSettings:
    """What every training has, whatever is trained.

    Args:
        out: run folder; one that exists with the same settings is continued.
        limit: largest number of photos, or clouds, trained on, evenly spaced; for a learning curve.
        optim: how it is trained.
        device: where the models run: cpu, cuda, cuda:1, mps, or auto.
        devices: processes on this machine that share each batch; samrot starts them.
        nodes: machines; with more than one, start samrot by ``torchrun``.
        workers: processes that make items, for each training process; 0 for none.
        tensorboard: write the curves for TensorBoard too, beside ``log.csv``.
        seed: seed of everything random.
        val_every: steps between measurements and checkpoints.
    """

    out: str
    limit: int | None = None
    optim: OptimSettings = field(default_factory=OptimSettings)
    device: str = "cpu"
    devices: int = 1
    nodes: int = 1
    workers: int = 1
    tensorboard: bool = False
    seed: int = 0
    val_every: int = 500

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "val_every"):
            check_count(name, getattr(self, name), 1)
        check_count("workers", self.workers, 0, 1024)
        check_count("seed", self.seed, 0, 2**32 - 1)
        if self.limit is not None:
            check_count("limit", self.limit, 1)

    def within_limit(self, length: int) -> np.ndarray:
        """Indices of those that are trained on, of so many items."""
        kept = length if self.limit is None else min(self.limit, length)
        return np.arange(kept) * length // max(1, kept)

    @property
    def may_grow(self) -> dict[str, str | None]:
        """The steps, if what was trained is not lost by that; see ``RunFolder.open``."""
        if self.optim.schedule == "constant":
            return {"optim.steps": None}
        return {
            "optim.steps": f"the rate of a {self.optim.schedule} schedule depends on its last step,"
            " so that optim.steps may grow with optim.schedule constant alone"
        }
