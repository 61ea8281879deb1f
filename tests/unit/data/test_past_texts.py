"""Earlier texts of a group: by hand; nothing of the future, of another group, or of the order of the table."""

from __future__ import annotations

import json

import numpy as np
import pytest

from omnifuse.data.history import schema_with_history, with_history
from omnifuse.data.infer import infer_schema
from omnifuse.data.past_texts import MOST_CHARS, MOST_TEXTS, end_of_text, join_latest, past_text_findings
from omnifuse.data.tables import open_table
from omnifuse.data.text import TextPreprocessor
from omnifuse.errors import InputError
from omnifuse.presets import PRESETS
from omnifuse.schema import Modality, Schema
from omnifuse.schema.history import PastText

TALK = [
    ("a", 0, "Is he in?", "no"),
    ("b", 0, "Good morning, all of you.", "yes"),
    ("a", 1, "He left at noon.", "no"),
    ("a", 2, "So we wait.", "yes"),
    ("b", 1, "Morning!", "yes"),
    ("a", 4, "I will not wait.", "no"),
]


def rows_of(talk):
    return [{"talk": group, "turn": turn, "said": said, "mood": mood} for group, turn, said, mood in talk]


def planned(rows, *, group="talk", window=60, drop=(), **fields):
    table = open_table(rows)
    given = {"said": "text", **fields}
    schema = infer_schema(table, ("mood",), fields=given, tasks={}, drop=(), group=group, time="turn")
    return schema_with_history(table, schema, window, drop)


def before(rows, schema, earlier=None):
    given = None if earlier is None else open_table(earlier)
    return with_history(open_table(rows), schema.history, given).cells("said_before")


WHOLE = [
    None,
    None,
    "Is he in?",
    "Is he in? | He left at noon.",
    "Good morning, all of you.",
    "Is he in? | He left at noon. | So we wait.",
]


def test_values_by_hand():
    rows = rows_of(TALK)
    schema = planned(rows)
    assert schema.history.texts == (PastText("said_before", "said", MOST_TEXTS, MOST_CHARS),)
    assert before(rows, schema) == WHOLE
    field = schema.field("said_before")
    assert (field.modality, field.reason) == (
        Modality.TEXT,
        "up to 5 earlier texts of 'said' of the same 'talk', in the order of 'turn'",
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_table_does_not_matter(seed):
    order = np.random.default_rng(seed).permutation(len(TALK))
    rows = [rows_of(TALK)[place] for place in order]
    assert before(rows, planned(rows)) == [WHOLE[place] for place in order]


def test_what_comes_later_or_elsewhere_changes_nothing():
    rows = rows_of(TALK)
    schema = planned(rows)
    changed = [dict(row, said="secret") if row["turn"] >= 2 or row["talk"] == "b" else row for row in rows]
    found = before(changed, schema)
    assert [found[place] for place in (0, 2, 3)] == [WHOLE[place] for place in (0, 2, 3)]
    assert "secret" in found[5]
    assert before(rows[:4], schema) == WHOLE[:4]
    labels = [dict(row, mood="yes") for row in rows]
    assert before(labels, schema) == WHOLE


def test_rows_of_one_time_are_not_each_others_past_and_have_one_order():
    talk = [("a", 0, "One.", "no"), ("a", 0, "Another.", "no"), ("a", 1, "Last.", "yes")]
    rows = rows_of(talk)
    schema = planned(rows)
    assert before(rows, schema) == [None, None, "Another. | One."]
    assert before([rows[1], rows[0], rows[2]], schema) == [None, None, "Another. | One."]


def test_window_and_number_of_texts_bound_it():
    rows = rows_of([("a", turn, f"word{turn}", "yn"[turn % 2]) for turn in range(9)])
    assert before(rows, planned(rows, window=2))[:4] == [None, "word0", "word0 | word1", "word1 | word2"]
    assert before(rows, planned(rows))[8] == "word3 | word4 | word5 | word6 | word7"
    assert planned(rows, window=0).history is None


def test_empty_cells_are_passed_over_and_no_text_at_all_is_missing():
    talk = [
        ("a", 0, " ", "no"),
        ("a", 1, "\u200b\0", "no"),
        ("a", 2, "Hello.", "yes"),
        ("a", 3, "", "no"),
        ("a", 4, "x", "no"),
    ]
    assert before(rows_of(talk), planned(rows_of(talk))) == [None, None, None, "Hello.", "Hello."]


def test_long_texts_keep_their_end():
    rows = rows_of([("a", 0, "start " + "x" * 5000 + " end", "no"), ("a", 1, "now", "yes")])
    found = before(rows, planned(rows))[1]
    assert len(found) == MOST_CHARS
    assert found.endswith("x end")
    assert end_of_text("a b c", 3) == "b c"
    assert join_latest(["abc", "def"], PastText("x", "y", 5, 5)) == "| def"
    assert join_latest([None, None], PastText("x", "y", 5, 5)) is None
    text = TextPreprocessor.fit([f"{number}" for number in range(50)] * 2, max_length=3, keep_end=True)
    assert text.decode(text("1 2 3 4 5")["ids"]) == "3 4 5"
    again = TextPreprocessor.from_json(json.loads(json.dumps(text.to_json())))
    assert again("1 2 3 4 5")["ids"].tolist() == text("1 2 3 4 5")["ids"].tolist()
    older = {name: value for name, value in text.to_json().items() if name != "keep_end"}
    assert TextPreprocessor.from_json(older).keep_end is False


def test_presets_keep_the_end_of_derived_texts_alone():
    options = PRESETS["small"].input_options(planned(rows_of(TALK)))
    assert options["said_before"] == {**options["said"], "keep_end": True}


def test_separator_is_a_word_of_its_own():
    text = TextPreprocessor.fit(["wait. | Go! | wait."] * 3)
    assert text.tokens("wait. | wait.") == ["wait", ".", "|", "wait", "."]


def test_earlier_rows_of_another_table_are_read():
    rows = rows_of(TALK)
    schema = planned(rows)
    assert before(rows[3:], schema, rows[:3]) == WHOLE[3:]


def test_a_long_pause_cuts_and_an_unread_time_or_group_has_no_past():
    rows = rows_of([("a", turn, f"word{turn}", "yn"[turn % 2]) for turn in (0, 1, 2, 700, 701)])
    schema = planned(rows)
    assert schema.history.gap_s == 600
    assert before(rows, schema) == [None, "word0", "word0 | word1", None, "word700"]
    rows[2]["turn"], rows[4]["talk"] = "soon", None
    assert before(rows, schema)[2] is None
    assert before(rows, schema)[4] is None
    for absent in ("turn", "talk", "said"):
        bare = [{name: cell for name, cell in row.items() if name != absent} for row in rows]
        assert set(before(bare, schema)) == {None}


def test_without_a_group_or_with_groups_of_one_row_nothing_is_made():
    rows = rows_of(TALK)
    assert planned(rows, group=None).history.texts == ()
    alone = [dict(row, talk=str(number)) for number, row in enumerate(rows)]
    assert planned(alone).history.texts == ()


def test_a_column_of_that_name_keeps_it():
    rows = [dict(row, said_before="mine too") for row in rows_of(TALK)]
    schema = planned(rows, said_before="text")
    assert [item.name for item in schema.history.texts] == ["said_before_", "said_before_before"]
    assert with_history(open_table(rows), schema.history).cells("said_before_") == WHOLE


def test_dropped_by_name_and_named_by_a_finding():
    rows = rows_of(TALK)
    schema = planned(rows)
    (finding,) = past_text_findings(schema)
    assert (finding.kind, finding.field, finding.severity) == ("past_text", "said_before", "info")
    assert "--drop said_before leaves it out" in finding.text
    bare = planned(rows, drop=("said_before",))
    assert bare.history.texts == ()
    assert "said_before" not in [item.name for item in bare.fields]
    assert past_text_findings(bare) == []
    with pytest.raises(InputError, match="--drop names the column 'said_befor'") as caught:
        planned(rows, drop=("said_befor",))
    assert "said_before" in caught.value.fix


def test_every_made_column_can_be_dropped():
    rows = [dict(row, heat=float(place)) for place, row in enumerate(rows_of(TALK * 3))]
    schema = planned(rows, heat="number")
    assert schema.history.derived == ("history", "heat against 5 rows before", "heat against 15 rows before",
                                      "heat against 60 rows before", "said_before")  # fmt: skip
    bare = planned(rows, heat="number", drop=("history", "heat against 15 rows before"))
    assert bare.history.derived == ("heat against 5 rows before", "heat against 60 rows before", "said_before")
    assert set(bare.history.derived) <= {item.name for item in bare.fields}
    assert "history" not in with_history(open_table(rows), bare.history).columns


def test_json_with_and_without_texts():
    schema = planned(rows_of(TALK))
    data = json.loads(json.dumps(schema.to_json()))
    assert Schema.from_json(data) == schema
    del data["history"]["texts"]
    assert Schema.from_json(data).history.texts == ()
    with pytest.raises(ValueError, match="0 earlier texts"):
        PastText("x", "y", 0, 10)
