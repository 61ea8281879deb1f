"""Tasks: a head, a loss and its targets, one file each."""

from torch import nn

from omnifuse.schema import TaskKind
from omnifuse.tasks.classification import ClassificationTask
from omnifuse.tasks.heads import Heads, TaskOutput
from omnifuse.tasks.kernel import KernelHead, Summary, kernel_widths
from omnifuse.tasks.regression import RegressionTask
from omnifuse.tasks.tagging import TaggingTask

TASKS: dict[TaskKind, type[nn.Module]] = {
    TaskKind.CLASSIFICATION: ClassificationTask,
    TaskKind.TAGGING: TaggingTask,
    TaskKind.REGRESSION: RegressionTask,
}

__all__ = [
    "TASKS",
    "ClassificationTask",
    "Heads",
    "KernelHead",
    "RegressionTask",
    "Summary",
    "TaggingTask",
    "TaskOutput",
    "kernel_widths",
]
