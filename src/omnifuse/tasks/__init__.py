"""Tasks: a head, a loss and its targets, one file each."""

from torch import nn

from omnifuse.schema import TaskKind
from omnifuse.tasks.answering import AnsweringTask
from omnifuse.tasks.captioning import CaptioningTask
from omnifuse.tasks.classification import ClassificationTask
from omnifuse.tasks.forest import ForestHead
from omnifuse.tasks.heads import Heads, TaskOutput, task_fields
from omnifuse.tasks.kernel import KernelHead
from omnifuse.tasks.linear import LinearHead
from omnifuse.tasks.ordinal import OrdinalTask
from omnifuse.tasks.regression import RegressionTask
from omnifuse.tasks.shallow import (
    NO_SHALLOW_HEAD,
    SHALLOW_HEADS,
    build_shallow,
    readable_widths,
    shallow_names,
    thumbnail_widths,
)
from omnifuse.tasks.summary import Summary
from omnifuse.tasks.tagging import TaggingTask
from omnifuse.tasks.transcription import TranscriptionTask
from omnifuse.tasks.writer import WriterOptions

TASKS: dict[TaskKind, type[nn.Module]] = {
    TaskKind.CLASSIFICATION: ClassificationTask,
    TaskKind.TAGGING: TaggingTask,
    TaskKind.REGRESSION: RegressionTask,
    TaskKind.ORDINAL: OrdinalTask,
}

# Those that write a text: built of a vocabulary instead of classes
WRITING_TASKS: dict[TaskKind, type[CaptioningTask] | type[TranscriptionTask] | type[AnsweringTask]] = {
    TaskKind.CAPTIONING: CaptioningTask,
    TaskKind.TRANSCRIPTION: TranscriptionTask,
    TaskKind.ANSWERING: AnsweringTask,
}

__all__ = [
    "NO_SHALLOW_HEAD",
    "SHALLOW_HEADS",
    "TASKS",
    "WRITING_TASKS",
    "AnsweringTask",
    "CaptioningTask",
    "ClassificationTask",
    "ForestHead",
    "Heads",
    "KernelHead",
    "LinearHead",
    "OrdinalTask",
    "RegressionTask",
    "Summary",
    "TaggingTask",
    "TaskOutput",
    "TranscriptionTask",
    "WriterOptions",
    "build_shallow",
    "readable_widths",
    "shallow_names",
    "task_fields",
    "thumbnail_widths",
]
