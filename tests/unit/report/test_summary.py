"""The summary in words: what leads, and by which metric fusing and simple models are judged."""

from __future__ import annotations

import numpy as np
import pytest

from omnifuse.report.summary import summary_words
from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

SCHEMA = Schema(
    (Field("note", Modality.TEXT), Field("hue", Modality.IMAGE)),
    (Target("event", TaskKind.CLASSIFICATION, ("no", "yes")),),
)


def scores(accuracy, balanced, auc):
    values = {"accuracy": accuracy, "balanced_accuracy": balanced, "roc_auc": auc}
    return {name: {"value": value, "low": value - 0.05, "high": value + 0.05} for name, value in values.items()}


def words(counts, **changes):
    result = {
        "task": "classification",
        "metrics": scores(0.91, 0.7, 0.85),
        "baselines": {
            "note": scores(0.92, 0.6, 0.75),
            "majority": scores(0.9, 0.5, 0.5),
            "note: trees": scores(0.89, 0.7, 0.88),
        },
        "fusion": {"verdict": "did not help", "against": "note", "metric": "accuracy", "rows": 300, "p": 0.6},
        "calibration": {"ece": 0.02},
        **changes,
    }
    return summary_words(SCHEMA, {"event": result}, {"event": np.array(counts)})


def test_uneven_classes_lead_with_roc_auc_and_say_why():
    assert words((270, 30)) == (
        "The model reads note (text), hue (image) and answers event.",
        "On rows it had not learnt from, ROC AUC for event is 0.850 (95% interval 0.800 to 0.900) and balanced "
        "accuracy is 70.0% (95% interval 65.0% to 75.0%).",
        "Only 10.0% of these rows are 'yes', so accuracy says little: it is 91.0%, and always giving the most frequent "
        "answer reaches 90.0%.",
        "Fusing did not help, judged by accuracy: a network that reads the best single field, note (92.0%) alone is as "
        "good. Consider it.",
        "By ROC AUC the model reaches 0.850, that network 0.750; this difference is not tested.",
        "Beware: judged by ROC AUC, the simple model 'note: trees' reaches 0.880, more than this model (0.850).",
        "Its confidence is off by 2.0% on average: when it says 90%, it is right about 9 times in 10.",
    )


def test_even_classes_lead_with_accuracy_and_are_judged_by_it():
    found = words((150, 150))
    assert found[1] == (
        "On rows it had not learnt from, accuracy for event is 91.0% (95% interval 86.0% to 96.0%); always giving the "
        "most frequent answer reaches 90.0%."
    )
    assert found[2].startswith("Fusing did not help, judged by accuracy: ")
    assert "ROC AUC" not in " ".join(found)
    assert "Beware" not in " ".join(found)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("helped", "Fusing helped, judged by accuracy: the model is better than a network that reads the best single "
                   "field, note (92.0%) alone."),
        ("cannot tell", "Whether fusing helped cannot be told on 300 rows, judged by accuracy; the comparison is with "
                        "the best single field, note (92.0%)."),
    ],
)  # fmt: skip
def test_every_verdict_names_its_metric(verdict, said):
    fusion = {"verdict": verdict, "against": "note", "metric": "accuracy", "rows": 300}
    assert said in words((150, 150), fusion=fusion)


def test_a_simple_model_is_named_by_each_metric_in_which_it_is_better():
    found = words((270, 30), metrics=scores(0.88, 0.7, 0.85))
    assert [sentence for sentence in found if sentence.startswith("Beware")] == [
        "Beware: judged by ROC AUC, the simple model 'note: trees' reaches 0.880, more than this model (0.850).",
        "Beware: judged by accuracy, the simple model 'majority' reaches 90.0%, more than this model (88.0%).",
    ]


def test_without_comparison_and_intervals_the_scores_are_told_all_the_same():
    bare = {name: {**score, "low": None, "high": None} for name, score in scores(0.91, 0.7, 0.85).items()}
    assert words((270, 30), metrics=bare, baselines={}, fusion=None, calibration=None)[1:] == (
        "On rows it had not learnt from, ROC AUC for event is 0.850 and balanced accuracy is 70.0%.",
        "Only 10.0% of these rows are 'yes', so accuracy says little: it is 91.0%.",
    )
