"""Types only: what a table holds, what is asked of it and what is answered."""

from omnifuse.schema.finding import Finding
from omnifuse.schema.history import History
from omnifuse.schema.modality import Modality, TaskKind
from omnifuse.schema.prediction import Hypothesis, Prediction, TargetPrediction
from omnifuse.schema.schema import Field, Input, Schema, Target

__all__ = [
    "Field",
    "Finding",
    "History",
    "Hypothesis",
    "Input",
    "Modality",
    "Prediction",
    "Schema",
    "Target",
    "TargetPrediction",
    "TaskKind",
]
