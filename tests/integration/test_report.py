"""The report: self-contained, inert whatever the table holds, and it says what it must."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.conftest import ONE_LABEL, QUICK, plain_rows

import omnifuse
from omnifuse.report import Example, ReportData, write_report
from omnifuse.report.media import picture_uri, sound_uri
from omnifuse.report.page import TargetData
from omnifuse.training.checkpoint import CheckpointFolder

EVIL = (
    '<img src=x onerror="alert(1)">',
    "</script><script>alert(2)</script>",
    "{{7*7}}",
    "{% for x in range(9) %}x{% endfor %}",
    "javascript:alert(3)",
    "\"' onmouseover='alert(4)",
    "</td></table></style><iframe src=//evil>",
    "<svg onload=alert(5)>",
)
VOID = {"meta", "img", "br", "path", "line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails on a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def check_inert(text: str) -> Page:
    """No script, no handler, no frame, nothing from a network, and a policy that forbids all of it."""
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "base", "form", "input", "foreignobject", "a"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or re.match(r"data:(image/(png|jpeg)|audio/wav);base64,[A-Za-z0-9+/=]+$", value), value
    policy = next(item["content"] for tag, item in page.tags if tag == "meta" and "http-equiv" in item)
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert "unsafe-eval" not in policy
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "http://" not in text
    assert "https://" not in text
    return page


def test_the_page_of_a_fit_is_self_contained_and_says_what_it_must(fitted):
    text = (fitted.run / "report" / "report.html").read_text()
    page = check_inert(text)
    verdict = fitted.model.metrics["targets"]["event"]["fusion"]["verdict"]
    assert verdict == "cannot tell"
    assert verdict in page.text
    assert "Whether fusing helped cannot be told on 80 rows, judged by accuracy" in page.text
    assert "against the best single field, judged by accuracy, paired over rows" in page.text
    assert "On rows it had not learnt from" in page.text
    assert "5-fold out-of-fold answers of 80 rows" in page.text
    assert "always giving the most frequent answer reaches" in page.text
    assert "Calibration error (ECE)" in page.text
    assert fitted.model.model_id in page.text
    for name in ("picture", "sound", "note", "time", "temperature", "co2", "room"):
        assert name in page.text
    counts = {name: sum(tag == name for tag, _ in page.tags) for name in ("img", "audio", "svg")}
    assert counts["img"] >= 3
    assert counts["audio"] >= 3
    assert counts["svg"] >= 5
    assert len(text) < 5_000_000


def test_an_uneven_label_is_told_by_its_ranking(tmp_path):
    rows = plain_rows(60)
    for number, row in enumerate(rows):
        row["kind"] = "rare" if number % 5 == 0 else "often"
    model = omnifuse.fit(rows, "kind", out=tmp_path / "run", **QUICK, **ONE_LABEL)
    page = check_inert((tmp_path / "run/report/report.html").read_text())
    assert f"ROC AUC for kind is {model.metrics['targets']['kind']['metrics']['roc_auc']['value']:.3f}" in page.text
    assert "Only 20.0% of these rows are 'rare'" in page.text
    tiles = page.text[page.text.index("How good: kind") :]
    assert tiles.index("ROC AUC") < tiles.index("balanced accuracy") < tiles.index("accuracy[")


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
def test_the_weights_of_balanced_losses_are_drawn_as_they_were_learnt(tmp_path, name):
    out = tmp_path / "run"
    settings = {"balancing": name, "shallow": "none"}
    options = QUICK | {"epochs": 6, "drop": ("key", "tags"), "settings": settings}
    omnifuse.fit(plain_rows(24), ["kind", "price"], out=out, **options)
    text = (out / "report/report.html").read_text()
    words = "Weight of each target's loss while it was learnt, mean over members."
    assert words in check_inert(text).text
    (drawn,) = re.findall(r"<h2>Loss balancing</h2>(.*?)</section>", text, re.S)
    assert re.findall(r">(kind|price)</text>", drawn) == ["kind", "price"]
    found = [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for points in re.findall(r'<polyline points="([^"]*)"', drawn)
    ]
    saved = [CheckpointFolder(path).load().facts["weights"] for path in (out / "checkpoints").iterdir()]
    assert [[step for step, _ in weights] for weights in saved] == [[0, 10]] * 5
    means = {target: np.mean([[item[target] for _, item in weights] for weights in saved], axis=0)
             for target in ("kind", "price")}  # fmt: skip
    # Up is less: 200 points from 0 to the largest weight; left and right are the first step and the last
    highest = max(values.max() for values in means.values())
    for values, points in zip(means.values(), found, strict=True):
        assert len(set(values.round(4))) == 2
        np.testing.assert_allclose([y for _, y in points], 210 - 200 * values / highest, atol=0.06)
        np.testing.assert_allclose([x for x, _ in points], [52, 520], atol=0.06)


def test_without_balancing_no_weights_are_drawn(tmp_path):
    omnifuse.fit(plain_rows(24), "kind", out=tmp_path / "run", settings={"balancing": "gradnorm"}, **QUICK, **ONE_LABEL)
    assert "Loss balancing" not in (tmp_path / "run/report/report.html").read_text()


def test_report_media_none_shows_no_medium(tmp_path, rooms):
    omnifuse.fit(rooms.train, "event", out=tmp_path / "run", drop=("note", "temperature", "co2", "room"), **QUICK)
    page = check_inert((tmp_path / "run/report/report.html").read_text())
    assert not [tag for tag, _ in page.tags if tag in ("img", "audio")]


def test_t56_a_table_full_of_markup_stays_inert(tmp_path):
    rows = plain_rows(48)
    for number, row in enumerate(rows):
        evil = EVIL[number % len(EVIL)]
        row |= {"kind": EVIL[0] if row["kind"] == "red" else EVIL[2], "note": evil, "colour": EVIL[number % 3 + 1]}
        row[EVIL[7]] = evil
        row["{{7*7}}"] = f"{number * 0.37:.2f}"
    options = QUICK | ONE_LABEL | {"baselines": True, "report_media": "sample"}
    model = omnifuse.fit(rows, "kind", out=tmp_path / "run", **options)
    text = (tmp_path / "run/report/report.html").read_text()
    page = check_inert(text)
    for evil in (EVIL[0], EVIL[2], EVIL[7]):
        assert evil in page.text
    assert "xxxxxxxxx" not in page.text
    assert "<img src=x" not in text
    assert model.schema.targets[0].classes == tuple(sorted((EVIL[0], EVIL[2])))


@pytest.fixture
def data() -> ReportData:
    """A page on which every text is hostile."""
    evil = EVIL[0]
    metrics = {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}, evil: {"value": 0.1, "low": None, "high": None}}
    result = {
        "task": "classification",
        "metrics": metrics,
        "subsets": {evil: {"accuracy": 0.2}, f"{evil}+b": {"accuracy": None}, "c": {"accuracy": 0.3}},
        "baselines": {evil: metrics},
        "fusion": {"verdict": evil, "p": 0.2},
        "calibration": {"ece": None},
    }
    sound = sound_uri(np.zeros(100, np.float32), 8000)
    example = Example(evil, evil, evil, evil, (picture_uri(np.zeros((4, 4, 3), np.uint8)),), (sound,), ((evil, evil),))
    target = TargetData(
        evil, result, np.array([[3, 1], [0, 2]]), (evil, EVIL[1]), ((0.3, 0.4, 5),), (example,), {evil: (0.1, 0.2, 3)}
    )
    return ReportData(
        title=evil,
        subtitle=evil,
        summary=(evil,),
        rows_words=evil,
        targets=(target,),
        curves=((evil, (1.0, 2.0), (3.0, 2.0)),),
        curves_words=evil,
        fields=({"name": evil, "modality": evil, "missing": 0.5, "reason": evil},),
        dropped={evil: evil},
        findings=({"severity": "warning", "field": evil, "text": evil},),
        notes=(evil,),
        facts={evil: evil},
    )


@pytest.mark.parametrize("evil", EVIL)
def test_t56_every_place_of_the_page_is_escaped(data, tmp_path, evil):
    def swapped(value):
        if isinstance(value, str):
            return value.replace(EVIL[0], evil)
        if isinstance(value, dict):
            return {swapped(key): swapped(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(swapped(item) for item in value)
        if isinstance(value, Example | TargetData | ReportData):
            return replace(value, **{name: swapped(item) for name, item in vars(value).items()})
        return value

    text = write_report(swapped(data), tmp_path / "page.html").read_text()
    page = check_inert(text)
    assert page.text.count(evil) >= 15


def test_a_page_without_anything_is_whole(tmp_path):
    text = write_report(ReportData("t", "s", (), "", ()), tmp_path / "deep" / "page.html").read_text()
    check_inert(text)
