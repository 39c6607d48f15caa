"""The tasks that can be evaluated: one file a task, and a line here."""

from samrot.evaluation.tasks.segmentation import SegmentationTask

TASKS = {"segmentation": SegmentationTask}

__all__ = ["TASKS"]
