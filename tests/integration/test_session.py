"""Sessions: values as they come, answers as for the whole row, and nothing computed twice."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import room_rows

from omnifuse.data.media import MediaDoor
from omnifuse.deploy.runtime import Runtime
from omnifuse.errors import InputError, MediaError

RATE = 8000


@pytest.fixture(scope="module")
def runtime(exported):
    return Runtime(exported, threads=1)


@pytest.fixture
def row(rooms):
    """A row with every cell."""
    return next(row for row in room_rows(rooms.test, 40) if all(value not in (None, "") for value in row.values()))


def values_of(row):
    return {name: value for name, value in row.items() if name not in ("id", "event")}


def chances(prediction):
    return list(prediction.targets["event"].probabilities.values())


def test_a_session_answers_as_predict_does(runtime, row):
    session = runtime.session(rates_hz={"sound": RATE})
    samples = MediaDoor().audio(row["sound"], RATE)
    parts = np.array_split(samples, 5)
    for number, part in enumerate(parts):
        session.push({"sound": part} if number else {**values_of(row), "sound": part}, at_s=number * 0.1)
    whole = np.clip(np.concatenate(parts), -1, 1) * (2**15 - 1)
    given = {**values_of(row), "sound": (whole.astype(np.int16), RATE)}
    wanted = runtime.predict([given], proba=True)[0]
    np.testing.assert_allclose(chances(session.predict(proba=True)), chances(wanted), atol=1e-5)


def test_only_what_changed_is_computed_again(runtime, row):
    session = runtime.session()
    session.push(values_of(row), at_s=0.0)
    first = session.predict(proba=True)
    assert session.num_encoded == len(runtime.fields)
    assert chances(session.predict(proba=True)) == chances(first)
    assert session.num_encoded == len(runtime.fields)
    session.push({"note": "smoke comes from under the door"}, at_s=0.5)
    changed = session.predict(proba=True)
    assert session.num_encoded == len(runtime.fields) + 1
    assert chances(changed) != chances(first)
    wanted = runtime.predict([{**values_of(row), "note": "smoke comes from under the door"}], proba=True)[0]
    np.testing.assert_allclose(chances(changed), chances(wanted), atol=1e-5)


def test_a_picture_counts_for_one_window(runtime, row):
    session = runtime.session(window_s=1.0)
    session.push(values_of(row), at_s=0.0)
    assert "picture" in session.predict().modalities_used
    session.push({"temperature": "21"}, at_s=1.5)
    answer = session.predict(proba=True)
    assert "picture" not in answer.modalities_used
    wanted = runtime.predict([{**values_of(row), "picture": None, "temperature": "21"}], proba=True)[0]
    np.testing.assert_allclose(chances(answer), chances(wanted), atol=1e-5)


def test_nothing_given_is_an_error_in_the_answer(runtime):
    assert runtime.session().predict().error


def test_a_cell_that_cannot_be_read_is_named_until_it_is_given_anew(runtime, row):
    session = runtime.session()
    session.push({**values_of(row), "picture": b"no picture"}, at_s=0.0)
    assert [text.split(":")[0] for text in session.predict().warnings] == ["picture"]
    assert [text.split(":")[0] for text in session.predict().warnings] == ["picture"]
    session.push({"picture": row["picture"]}, at_s=0.1)
    assert session.predict().warnings == ()


def test_faults_of_a_push_are_told_and_lose_nothing(runtime, row):
    session = runtime.session()
    session.push(values_of(row), at_s=1.0)
    before = chances(session.predict(proba=True))
    with pytest.raises(InputError, match="goes back"):
        session.push({"note": "x"}, at_s=0.5)
    with pytest.raises(InputError, match="reads no column 'nose'"):
        session.push({"nose": "x"}, at_s=2.0)
    with pytest.raises(MediaError, match="odd number"):
        session.push({"sound": b"123"}, at_s=2.0)
    assert chances(session.predict(at_s=1.0, proba=True)) == before


@pytest.mark.parametrize(
    "options", [{"window_s": 0}, {"rates_hz": {"note": 8000}}, {"rates_hz": {"sound": 0}}], ids=str
)
def test_settings_without_sense_are_refused(runtime, options):
    with pytest.raises(InputError):
        runtime.session(**options)
