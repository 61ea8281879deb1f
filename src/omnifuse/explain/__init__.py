"""What carried an answer: fields by Shapley values, parts of a field by hiding them. No torch here."""

from omnifuse.explain.explaining import Explaining, explain_decoded
from omnifuse.explain.explanation import AnswerExplanation, Explanation, FieldParts, Part, Share
from omnifuse.explain.probe import Probe
from omnifuse.explain.shares import Shares, shapley_shares

__all__ = [
    "AnswerExplanation",
    "Explaining",
    "Explanation",
    "FieldParts",
    "Part",
    "Probe",
    "Share",
    "Shares",
    "explain_decoded",
    "shapley_shares",
]
