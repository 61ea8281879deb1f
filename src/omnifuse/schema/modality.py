"""The closed list of modalities: what a column can be and what an encoder can read."""

from __future__ import annotations

from enum import StrEnum


class Modality(StrEnum):
    """What a column holds. NUMBER and CATEGORY columns are read together as one TABLE input."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    SERIES = "series"
    NUMBER = "number"
    CATEGORY = "category"
    DATE = "date"
    PLACE = "place"
    TAGS = "tags"
    TABLE = "table"

    @property
    def is_media(self) -> bool:
        """True where a cell is a file, bytes or an array that must be decoded."""
        return self in (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)


class TaskKind(StrEnum):
    """What is asked of the model for one target column."""

    CLASSIFICATION = "classification"
    TAGGING = "tagging"
    REGRESSION = "regression"
    ORDINAL = "ordinal"
    TRANSCRIPTION = "transcription"
    CAPTIONING = "captioning"
    ANSWERING = "answering"
    RETRIEVAL = "retrieval"
    RANKING = "ranking"
    ANOMALY = "anomaly"

    @property
    def chooses_class(self) -> bool:
        """True where one of several classes is answered a row, in order or not."""
        return self in (TaskKind.CLASSIFICATION, TaskKind.ORDINAL)

    @property
    def writes(self) -> bool:
        """True where a text is answered that is not one of some classes."""
        return self in (TaskKind.TRANSCRIPTION, TaskKind.CAPTIONING, TaskKind.ANSWERING)
