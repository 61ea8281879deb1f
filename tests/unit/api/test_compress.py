"""Compression step by step: what is judged, kept and refused, and what a budget asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_graphs import ENCODER, tiny_model

from omnifuse.api.compress_budget import read_budget
from omnifuse.api.compress_judge import Judge, Judgement, TargetScore, member_order
from omnifuse.api.compress_search import search
from omnifuse.api.compress_steps import Compressor
from omnifuse.deploy.fewer_members import keep_members
from omnifuse.deploy.trial import Trial
from omnifuse.errors import InputError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class SteadyTrial(Trial):
    """A row takes a millisecond a member and a megabyte, so that no test hangs on the machine's mood."""

    def row_ms(self, sets, *, seconds=2.0, beside=None):
        every = {**sets, **{name: graphs for name, (_, graphs) in (beside or {}).items()}}
        return {name: graphs.size_bytes / 1e6 + graphs.signature.num_members for name, graphs in every.items()}

    def graph_ms(self, contents, feeds, *, seconds=0.5):
        return {name: len(content) / 1e6 for name, content in contents.items()}


def compressor(tiny, *, goal="both", most_loss=0.005, labels=True):
    trial = SteadyTrial(tiny.packs, threads=1)
    truths = {"y": tiny.truth} if labels else {}
    judge = Judge(tiny.readouts, ("x",), trial.answers(tiny.graphs), truths)
    return Compressor(trial, judge, tiny.graphs, goal=goal, most_loss=most_loss)


@pytest.fixture(scope="module")
def alike():
    """An ensemble whose members answer nearly the same."""
    return tiny_model(3, spread=0.002)


@pytest.fixture(scope="module")
def apart():
    """An ensemble whose other members answer what they like."""
    return tiny_model(3, spread=20.0)


def test_budgets_are_read_in_their_units():
    metrics = ["accuracy", "r2"]
    assert [read_budget(text, metrics).limit for text in ("20 ms", "0.5s", "300us")] == [
        20.0,
        500.0,
        pytest.approx(0.3),
    ]
    assert [read_budget(text, metrics).limit for text in ("5 MB", "800kB", "1.5 GB")] == [5e6, 8e5, 1.5e9]
    found = read_budget("1% accuracy", metrics)
    assert (found.kind, found.limit, found.metric) == ("score", 0.01, "accuracy")
    assert read_budget("5 MB", metrics).met(size_bytes=5e6, row_ms=99.0)
    assert not read_budget("20 ms", metrics).met(size_bytes=0.0, row_ms=20.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5 apples", "the unit 'apples' is not known"),
        ("quick", "is no limit"),
        ("5", "is no limit"),
        ("0 ms", "leaves nothing"),
        ("1% acuracy", "did you mean 'accuracy'"),
        ("200% accuracy", "lets more than all"),
        ("5 mb", "the unit 'mb' is not known"),
    ],
)
def test_a_budget_that_makes_no_sense_is_one_line(text, words):
    with pytest.raises(InputError, match=words):
        read_budget(text, ["accuracy"])


def scored(loss, *, unsure=False, agreement=1.0):
    score = TargetScore("accuracy", 0.9 * (1 - loss), 0.8, 0.95, loss, unsure)
    return Judgement(agreement, agreement, {"y": score})


def test_what_does_harm():
    assert scored(0.004).harm(0.005) == ""
    assert "falls by 2.00%, more than 0.50%" in scored(0.02).harm(0.005)
    assert scored(0.02, unsure=True, agreement=0.995).harm(0.005) == ""
    assert scored(0.02, unsure=True, agreement=0.98).harm(0.005)
    assert scored(0.0, agreement=0.98).harm(0.005) == ""
    assert Judgement(0.995, 1.0).harm(0.005) == ""
    assert "below 99%" in Judgement(0.98, 1.0).harm(0.005)


def test_the_score_is_that_of_the_rows_with_its_interval(alike):
    judge = compressor(alike).judge
    same = judge(judge.reference)
    assert (same.agreement, same.whole, same.scores["y"].loss) == (1.0, 1.0, 0.0)
    assert same.scores["y"].unsure
    raw = judge.reference[("x",)]
    share = (alike.readouts["y"].scores(raw).argmax(axis=1) == alike.truth).mean()
    assert same.scores["y"].value == pytest.approx(share)
    wrong = judge({("x",): type(raw)({"y": -raw.fused["y"]}, {"y": {}}, raw.present)})
    assert wrong.agreement < 0.2
    assert wrong.scores["y"].loss > 0.5
    assert not wrong.scores["y"].unsure
    assert judge.metrics == ["accuracy"]


def test_the_member_nearest_to_all_of_them_comes_first(apart):
    trial = Trial(apart.packs, threads=1)
    reference = trial.answers(apart.graphs)
    order = member_order(apart.readouts, reference)
    assert sorted(order) == [0, 1, 2]
    whole = apart.readouts["y"].scores(reference[("x",)])
    distances = [
        np.mean((apart.readouts["y"].scores(reference[("x",)].members([number])) - whole) ** 2) for number in range(3)
    ]
    assert order[0] == int(np.argmin(distances))


def test_members_that_answer_alike_shrink_to_one(alike):
    found = compressor(alike)
    found.fewer_members([2, 1])
    assert found.graphs.signature.num_members == 1
    step = found.steps[-1]
    assert step.kept
    assert step.name.startswith("1 of 3 members")
    assert step.size_bytes < alike.graphs.size_bytes / 2.5


def test_members_that_are_needed_stay_and_the_table_says_why(apart):
    # Without labels the answers have to agree
    found = compressor(apart, labels=False)
    found.fewer_members([2, 1])
    assert found.graphs is apart.graphs
    assert len(found.steps) == 2
    assert not found.steps[-1].kept
    assert "of the answers agree, below 99%" in found.steps[-1].why


def test_int8_is_chosen_graph_by_graph(alike):
    found = compressor(alike)
    found.int8()
    step = found.steps[-1]
    assert step.kept
    choices = {item.file: item for item in step.graphs}
    assert choices[ENCODER].form in ("dynamic", "static")
    assert choices[ENCODER].size_bytes[1] < choices[ENCODER].size_bytes[0] / 2.5
    # Three products of 16 x 3: what quantising adds is more than what it takes away
    assert choices["fusion.onnx"].form == "fp32"
    assert "slower" in choices["fusion.onnx"].why
    assert found.graphs.signature.precision == "int8"
    assert step.judgement.agreement >= 0.99


def test_int8_that_answers_otherwise_is_refused_even_where_the_score_may_fall(alike, monkeypatch):
    from omnifuse.api import compress_steps

    other = tiny_model(3, seed=5).graphs.contents[ENCODER]
    monkeypatch.setattr(compress_steps, "_quantised", lambda content, feeds, keep=(): [("dynamic", other)])
    quick = lambda self, contents, feeds, seconds=0.5: {name: 1.0 + (name == "fp32") for name in contents}  # noqa: E731
    monkeypatch.setattr(SteadyTrial, "graph_ms", quick)
    found = compressor(alike, most_loss=0.9)
    found.int8()
    assert found.graphs is alike.graphs
    choice = next(item for item in found.steps[-1].graphs if item.file == ENCODER)
    assert choice.form == "fp32"
    assert "of the answers agree, below 99%" in choice.why


def test_int8_after_fewer_members_is_held_against_those_that_are_left():
    found = compressor(tiny_model(3, spread=2.0), most_loss=0.9)
    found.fewer_members([1])
    found.int8()
    assert found.steps[1].judgement.agreement < 0.99
    assert found.steps[2].kept
    assert found.graphs.signature.precision == "int8"


def test_a_budget_of_size_takes_no_more_than_it_needs(alike):
    size = alike.graphs.size_bytes
    found = compressor(alike, goal="size")
    search(found, read_budget(f"{size * 0.7 / 1e6:.4f} MB", []), {"members", "int8", "prune"})
    assert found.graphs.signature.num_members == 2
    assert [step.kept for step in found.steps] == [True, True]

    found = compressor(alike, goal="size")
    search(found, read_budget(f"{size * 0.15 / 1e6:.4f} MB", []), {"members", "int8", "prune"})
    assert found.graphs.signature.num_members == 1
    assert found.graphs.signature.precision == "int8"
    assert found.graphs.size_bytes <= size * 0.15


def test_a_budget_that_is_met_already_changes_nothing(alike):
    found = compressor(alike, goal="size")
    search(found, read_budget("1 GB", []), {"members", "int8", "prune"})
    assert found.graphs is alike.graphs
    assert len(found.steps) == 1


def test_a_budget_out_of_reach_names_the_nearest(alike):
    found = compressor(alike, goal="size")
    with pytest.raises(InputError, match=r"budget of 1 kB cannot be met.*nearest is 0\.\d+ MB by 1 of 3 members"):
        search(found, read_budget("1 kB", []), {"members", "int8"})


def test_a_budget_of_the_score_goes_as_far_as_it_may(alike):
    found = compressor(alike, goal="score", most_loss=0.02)
    search(found, read_budget("2% accuracy", ["accuracy"]), {"members", "prune", "int8"})
    assert found.graphs.signature.num_members == 1
    assert found.now.judgement.loss <= 0.02 or found.now.judgement.scores["y"].unsure
    assert [step.name.split()[0] for step in found.steps][-1] == "int8"


def test_each_metric_has_its_own_limit():
    assert "more than 1.00%" in scored(0.02).harm(0.5, {"accuracy": 0.01})
    assert scored(0.02).harm(0.005, {"accuracy": 0.05}) == ""
    assert "more than 0.50%" in scored(0.02).harm(0.005, {"r2": 0.05})


def test_a_search_keeps_as_many_members_as_it_was_told(alike):
    found = compressor(alike, goal="score", most_loss=0.02)
    search(found, read_budget("2% accuracy", ["accuracy"]), {"members"}, fewest=2)
    assert found.graphs.signature.num_members == 2


def test_pruning_says_where_there_are_no_heads(alike):
    found = compressor(alike, most_loss=0.9)
    assert found.prune(0.5)
    channels, heads = found.steps[1:]
    assert channels.name == "pruned by 50% (768 channels)"
    assert channels.kept
    assert (heads.name, heads.kept, heads.why) == ("pruned by 50% (0 heads)", False, "no heads to prune")
    assert found.now is channels


def test_int8_leaves_the_layers_that_suffer_as_they_are(alike, monkeypatch):
    from omnifuse.api import compress_steps

    real = compress_steps._quantised

    def quantised(content, feeds, keep=()):
        return real(content, feeds, keep) if keep else [("dynamic", tiny_model(3, seed=5).graphs.contents[ENCODER])]

    monkeypatch.setattr(compress_steps, "_quantised", quantised)
    quick = lambda self, contents, feeds, seconds=0.5: {name: 1.0 + (name == "fp32") for name in contents}  # noqa: E731
    monkeypatch.setattr(SteadyTrial, "graph_ms", quick)
    found = compressor(alike)
    found.int8()
    choice = next(item for item in found.steps[-1].graphs if item.file == ENCODER)
    assert choice.form == "dynamic"
    assert choice.why.endswith("1 of 6 layers stay in fp32")
    assert choice.size_bytes[1] < choice.size_bytes[0]


def student_of(found, tiny):
    """What is tried of a student that reads the same rows."""
    trial = SteadyTrial(tiny.packs, threads=1)
    return trial, found.judge.of_student(tiny.readouts, ("x",), trial.answers(tiny.graphs)), tiny.graphs


def test_a_student_that_answers_as_well_takes_over(alike):
    found = compressor(alike)
    small = replace(alike, graphs=keep_members(alike.graphs, [1]))
    assert found.student("distilled into tiny", *student_of(found, small))
    assert found.graphs is small.graphs
    step = found.steps[-1]
    assert step.kept
    assert step.judgement.scores["y"].loss <= 0.005
    assert step.why.startswith("2.9")
    # The steps after it are made of the student, and held against the first model
    found.int8()
    assert found.graphs.signature.precision == "int8"
    assert found.graphs.signature.num_members == 1


def test_a_student_that_answers_otherwise_is_refused(alike):
    found = compressor(alike)
    other = tiny_model(1, seed=7)
    judged = student_of(found, other)
    assert not found.student("distilled into tiny", *judged)
    assert found.graphs is alike.graphs
    assert "accuracy of 'y' falls by" in found.steps[-1].why


def test_a_student_without_a_field_is_held_against_what_counts():
    """Whole rows against whole rows; without a field against the teacher without that field."""
    tiny = tiny_model(1)
    raw = Trial(tiny.packs, threads=1).answers(tiny.graphs)[("x",)]
    other = type(raw)({"y": -raw.fused["y"]}, {"y": {}}, raw.present)
    reference = {("x", "z", "w"): raw, ("z", "w"): other, ("x", "w"): raw, ("x", "z"): other}
    judge = Judge(tiny.readouts, ("x", "z", "w"), reference, {"y": tiny.truth})
    student = judge.of_student(tiny.readouts, ("x", "z"), {("x", "z"): raw, ("z",): other, ("x",): raw})
    assert student(student.reference).agreement == 1.0
    assert student({**student.reference, ("z",): raw}).agreement < 0.8
    assert student(student.reference).scores["y"].loss == 0.0
