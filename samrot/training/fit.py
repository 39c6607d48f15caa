"""The training loop, for whatever is trained: one process, one GPU or many (Lightning Fabric).

A training run is a ``TrainingObjective`` (what is trained, on which items, with which loss) and the
loop here. Step n is a function of the settings and the weights before it: its items, its random
numbers and its learning rate do not depend on how many processes share the work or on how often the
run was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from samrot.errors import InputError
from samrot.runtime.devices import is_fast_in_bfloat16
from samrot.runtime.memory import SAMPLE, UNCHECKED, bytes_of_each, check_batch
from samrot.runtime.processes import launch
from samrot.runtime.run_folder import RunFolder
from samrot.training.fit_settings import FitSettings
from samrot.training.objective import TrainingObjective
from samrot.training.workers import ReportingCollate, ReportingDataset

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SMOOTHING = 0.98  # of the curves on the progress bar


class SmoothedMetrics:
    """Smoothed training curves; part of the state, so that a resumed run shows the same."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def update(self, values: Mapping[str, float]) -> None:
        """Mix in the values of a step; NaN is skipped."""
        for name, value in values.items():
            if not math.isnan(value):
                old = self.values.get(name, value)
                self.values[name] = SMOOTHING * old + (1 - SMOOTHING) * value

    def state_dict(self) -> dict[str, float]:
        """As of a module."""
        return dict(self.values)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """As of a module."""
        self.values = dict(state)


class BestCheckpoint:
    """The best validation so far; part of the state."""

    def __init__(self) -> None:
        self.value = -math.inf

    def state_dict(self) -> dict[str, float]:
        """As of a module."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """As of a module."""
        self.value = state["value"]


def build_fabric(settings: FitSettings) -> Fabric:
    """Start, or join, the processes of a training.

    Raises:
        InputError: if device, batch size and number of processes do not fit.
    """
    optim = settings.optim
    pieces = settings.devices * settings.nodes * optim.accumulate
    if pieces < 1 or optim.batch_size % pieces:
        raise InputError(
            f"optim.batch_size is {optim.batch_size}; expected a multiple of devices x "
            f"nodes x optim.accumulate = {pieces}, each at least 1"
        )
    return launch(settings.device, settings.devices, settings.nodes)


def open_run(fabric: Fabric, settings: FitSettings) -> RunFolder:
    """Create or enter the folder of a training; in all processes, in the first one first.

    Raises:
        InputError: as ``RunFolder.open``.
    """
    with fabric.rank_zero_first():
        return RunFolder.open(settings.out, settings, may_grow=settings.may_grow)


def fit(
    fabric: Fabric, settings: FitSettings, run: RunFolder, objective: TrainingObjective
) -> Path:
    """Train; the same settings and folder continue an interrupted run.

    Args:
        fabric: what ``build_fabric`` made.
        settings: settings of the run.
        run: where logs, checkpoints and the state to continue from are written.
        objective: what is trained.

    Returns:
        Path of the checkpoint of the averaged weights at the last step. The one that measured best
        lies beside it, as ``best_`` + name, where there is something to measure on.

    Raises:
        InputError: if the loss is not finite, where the last good checkpoint stays; or, on a CPU,
            if there is not the memory for a batch.
    """
    optim = settings.optim
    checkpoint = run.path / objective.checkpoint_name
    objective.train()
    _check_memory(fabric, settings, objective)
    average = AveragedModel(
        objective.model, multi_avg_fn=get_ema_multi_avg_fn(optim.ema_decay), use_buffers=True
    ).to(fabric.device)
    groups = [
        {"params": [p for p in part.parameters() if p.requires_grad], "scale": scale}
        for part, scale in objective.learning_rate_scales()
    ]
    groups = [group for group in groups if group["params"]]
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(groups, lr=optim.learning_rate, weight_decay=optim.weight_decay)
    smoothed, best = SmoothedMetrics(), BestCheckpoint()
    wrapped, optimizer = fabric.setup(objective, optimizer)
    state = {"model": objective.model, "ema": average, "optimizer": optimizer}
    first_step = run.restore(**state, curves=smoothed, best=best)
    logger = _tensorboard(run, fabric) if settings.tensorboard else None
    batches = _batches(fabric, settings, objective, first_step)
    progress = tqdm(
        initial=first_step * optim.batch_size, total=optim.steps * optim.batch_size, desc="train",
        unit="image", disable=not fabric.is_global_zero,
    )  # fmt: skip
    with progress:
        for step in range(first_step, optim.steps):
            torch.manual_seed(_seed(settings.seed, step, fabric.global_rank))
            for group in optimizer.param_groups:
                # States of before 0.2.0 hold no scale.
                group["lr"] = optim.learning_rate_at(step) * group.get("scale", 1.0)
            shown = _step(fabric, wrapped, optimizer, trained, batches, step, settings, run)
            average.update_parameters(objective.model)
            smoothed.update(shown)
            progress.update(optim.batch_size)
            progress.set_postfix({k: f"{v:.3f}" for k, v in smoothed.values.items()}, refresh=False)
            done = step + 1
            if done % settings.val_every and done != optim.steps:
                continue
            average.eval()
            measured = _measure(fabric, objective, average.module)
            if fabric.is_global_zero:
                row = {
                    "step": done,
                    **smoothed.values,
                    "learning_rate": optim.learning_rate_at(step),
                }
                _log(run, logger, row | measured)
                objective.save(average.module, checkpoint)
                if measured and measured[objective.measure] > best.value:
                    best.value = measured[objective.measure]
                    objective.save(average.module, checkpoint.with_name(f"best_{checkpoint.name}"))
            average.train()
            if fabric.is_global_zero:
                run.save(done, **state, curves=smoothed, best=best)
            fabric.barrier()
    return checkpoint


def _check_memory(fabric: Fabric, settings: FitSettings, objective: TrainingObjective) -> None:
    """Refuse batches for which there is not enough memory; the first items say what one takes.

    On a GPU nothing is checked: there the allocator has an error of its own.
    """
    together = settings.optim.batch_size // (settings.optim.accumulate * settings.nodes)
    if fabric.device.type != "cpu" or together <= UNCHECKED * settings.devices:
        return
    items = [objective.dataset[n] for n in range(SAMPLE)]
    batch = (objective.collate or default_collate)(items)
    before = {name: value.clone() for name, value in objective.state_dict().items()}

    def work() -> None:
        with _autocast(fabric, settings):
            loss, _ = objective(batch, 0)
        loss.backward()

    work()  # gradients are made once
    each = bytes_of_each(work)
    objective.zero_grad()
    objective.load_state_dict(before)  # batch norm has changed
    if each is not None:
        check_batch(
            "optim.batch_size",
            settings.optim.batch_size,
            together * each,
            "raise optim.accumulate, or ",
        )


def _autocast(fabric: Fabric, settings: FitSettings) -> torch.autocast:
    # Not Fabric's own bf16-mixed: it rounds what goes in too, boxes to whole pixels.
    wanted = settings.optim.bfloat16
    enabled = is_fast_in_bfloat16(str(fabric.device)) if wanted is None else wanted
    return torch.autocast(fabric.device.type, torch.bfloat16, enabled)


def _step(
    fabric: Fabric,
    wrapped: Any,
    optimizer: Any,
    trained: list[nn.Parameter],
    batches: Iterator[Any],
    step: int,
    settings: FitSettings,
    run: RunFolder,
) -> dict[str, float]:
    """One optimiser step over the pieces of a batch; what to show of it."""
    optimizer.zero_grad()
    pieces = settings.optim.accumulate
    totals: dict[str, list[float]] = {}
    for piece in range(pieces):
        batch = next(batches)
        with fabric.no_backward_sync(wrapped, enabled=piece < pieces - 1):
            with _autocast(fabric, settings):
                loss, shown = wrapped(batch, step)
            fabric.backward(loss / pieces)
        for name, value in {"loss": loss.item(), **shown}.items():
            totals.setdefault(name, []).append(value)
    means = _mean_over_processes(fabric, totals)
    # Clipping takes the norm over all of the gradient, so that one rank's NaN is every rank's.
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    if not (torch.isfinite(norm) and math.isfinite(means["loss"])):
        raise InputError(
            f"the loss is {means['loss']} and its gradient {norm.item()} at step {step}; the last "
            f"good checkpoint is in {run.path}: lower optim.learning_rate "
            f"({settings.optim.learning_rate})"
        )
    optimizer.step()
    return means


def _mean_over_processes(fabric: Fabric, totals: Mapping[str, list[float]]) -> dict[str, float]:
    """Mean of each curve over its pieces on all processes; NaN is skipped."""
    values = torch.tensor(list(totals.values()), device=fabric.device, dtype=torch.float32)
    seen = ~values.isnan()
    known = values.where(seen, torch.zeros_like(values))
    both = torch.stack([known.sum(dim=1), seen.float().sum(dim=1)])
    sums, counts = cast(Tensor, fabric.all_reduce(both, reduce_op="sum"))
    return dict(zip(totals, (sums / counts).tolist(), strict=True))


def _batches(
    fabric: Fabric, settings: FitSettings, objective: TrainingObjective, first_step: int
) -> Iterator[Any]:
    """This process's pieces of the batches from ``first_step`` on, on its device."""
    optim = settings.optim
    share = optim.batch_size // fabric.world_size
    order = [
        step * optim.batch_size + fabric.global_rank * share + i
        for step in range(first_step, optim.steps)
        for i in range(share)
    ]
    loader = DataLoader(
        ReportingDataset(objective.dataset),
        share // optim.accumulate,
        sampler=order,
        num_workers=settings.workers,
        collate_fn=ReportingCollate(objective.collate),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield fabric.to_device(batch)


def _measure(fabric: Fabric, objective: TrainingObjective, model: nn.Module) -> dict[str, float]:
    """Validation over all processes: sums are added, so that the numbers are those of one."""
    with torch.no_grad():
        sums = objective.validate(model, fabric.global_rank, fabric.world_size)
    if not sums:
        return {}
    both = fabric.to_device(torch.stack([sums[objective.measure].double(), sums["count"].double()]))
    total: Any = fabric.all_reduce(both, reduce_op="sum")
    return {objective.measure: float(total[0] / total[1])}


def _log(run: RunFolder, logger: Any, row: Mapping[str, Any]) -> None:
    rounded = {name: float(f"{value:.4g}") for name, value in row.items()} | {"step": row["step"]}
    run.log(rounded)
    tqdm.write("  ".join(f"{name} {value}" for name, value in rounded.items()))
    if logger is not None:
        for name, value in row.items():
            if name != "step":
                logger.add_scalar(name, value, row["step"])
        logger.flush()


def _tensorboard(run: RunFolder, fabric: Fabric) -> Any:
    if not fabric.is_global_zero:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "tensorboard is true, but not installed; pip install 'samrot[tensorboard]'"
        ) from error
    return SummaryWriter(str(run.path / "tensorboard"))


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
