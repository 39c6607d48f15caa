"""Workers on a Ray cluster: each holds the models, and is given one item at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from samrot.errors import InputError
from samrot.runtime.records import Record

_RETRIES = 2  # of an item whose worker died


class Item(Protocol):
    """What a worker is given, if it can be handed to another machine."""

    def failure(self, reason: str) -> Record:
        """The record that says why there is no result."""
        ...


class RayWorkers:
    """A worker that hands its items to others, on this machine or a cluster (``RAY_ADDRESS``).

    A worker that dies is started again, and what it was given is done again; an item that kills
    three of them is recorded as failed.

    Args:
        build: makes the worker of a process, from a device and the number of the process.
        device: cpu, cuda, mps or auto; each worker reserves one CPU, or one GPU too.
        count: number of workers.

    Raises:
        InputError: if Ray is not installed, the cluster is too small, or a worker cannot be made.
    """

    def __init__(self, build: Callable[[str, int], Any], device: str, count: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise InputError(
                "executor is ray, which is not installed; pip install 'samrot[ray]'"
            ) from error
        self.ray = ray
        self.is_own = not ray.is_initialized()
        if self.is_own:
            local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": count}
            ray.init(include_dashboard=False, log_to_driver=False, **local)
        self.workers: list[Any] = []
        try:
            if device == "auto":
                device = "cuda" if ray.cluster_resources().get("GPU", 0) >= count else "cpu"
            num_gpus = int(device.startswith("cuda"))
            for kind, each in {"CPU": 1, "GPU": num_gpus}.items():
                there = int(ray.cluster_resources().get(kind, 0))
                if there < each * count:
                    raise InputError(
                        f"devices is {count}, but the Ray cluster has {there} {kind}s; expected at "
                        "most as many"
                    )
            remote: Any = ray.remote(
                num_cpus=1, num_gpus=num_gpus, max_restarts=-1, max_task_retries=_RETRIES
            )(_RemoteWorker)
            for number in range(count):
                self.workers.append(remote.remote(build, device, number))
            loaded = [worker.load.remote() for worker in self.workers]
            failures = []
            for reference in loaded:  # all of them: Ray prints an error that nobody asked for
                try:
                    self._result(reference)
                except (InputError, OSError) as error:
                    failures.append(error)
            if failures:
                raise failures[0]
        except BaseException:
            self.close()
            raise

    def run(self, items: Sequence[Item], write: Callable[[Record], None]) -> None:
        """See ``Worker.run``; records are written as they come."""
        pending: dict[Any, tuple[Any, Item]] = {}
        remaining = iter(items)
        free = self.workers
        while True:
            for worker, item in zip(free, remaining, strict=False):  # takes no item too many
                pending[worker.run.remote(item)] = (worker, item)
            if not pending:
                return
            (done, *_), _ = self.ray.wait(list(pending))
            worker, item = pending.pop(done)
            free = [worker]
            try:
                records = self._result(done)
            except self.ray.exceptions.RayActorError:
                records = [item.failure(f"the worker died, {_RETRIES + 1} times; see its memory")]
            for record in records:
                write(record)

    def close(self) -> None:
        """End what was started here."""
        while self.workers:
            self.ray.kill(self.workers.pop())
        if self.is_own and self.ray.is_initialized():
            self.ray.shutdown()

    def _result(self, reference: Any) -> Any:
        """What a worker returned; an error of its own as it was raised there."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError | OSError):
                raise error.cause from None
            raise


class _RemoteWorker:
    """What runs in a process of Ray's; its models are loaded again where it was restarted."""

    def __init__(self, build: Callable[[str, int], Any], device: str, number: int) -> None:
        self.build, self.device, self.number = build, device, number
        self.worker: Any = None

    def load(self) -> None:
        if self.worker is None:
            self.worker = self.build(self.device, self.number)

    def run(self, item: Item) -> list[Record]:
        self.load()
        records: list[Record] = []
        self.worker.run([item], records.append)
        return records
