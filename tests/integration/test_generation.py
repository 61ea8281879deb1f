"""Texts from a table to answers: captions, answers and transcripts, beside classes, saved, loaded and asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from PIL import Image
from tests.conftest import QUICK
from typer.testing import CliRunner

import omnifuse
from omnifuse.api import partition as partition_module
from omnifuse.cli.main import app, run
from omnifuse.errors import InputError

COLOURS, THINGS = ("red", "blue", "green", "grey"), ("car", "ball")
# Everything that makes few rows learn quickly by heart
BY_HEART = {
    "learning_rate": "1e-2",
    "shallow": "none",
    "batch_size": "16",
    "decoder_depth": "1",
    "dropout": "0",
    "modality_dropout": "0",
    "label_smoothing": "0",
    "precision": "fp32",
    "augment": "0",
}
ONCE = {**QUICK, "settings": {"shallow": "none", "decoder_depth": "1"}}


def notes(times):
    return [
        {"note": f"{colour} thing, kind {thing}", "caption": f"{thing} in {colour}", "kind": thing}
        for _ in range(times)
        for colour in COLOURS
        for thing in THINGS
    ]


@pytest.fixture(scope="module", autouse=True)
def two_folds():
    """Two networks, not five: enough to see that folds and members are in order."""
    before, partition_module.NUM_FOLDS = partition_module.NUM_FOLDS, 2
    yield
    partition_module.NUM_FOLDS = before


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions") / "run"
    options = {**QUICK, "epochs": 90, "settings": BY_HEART, "fields": {"note": "text"}, "drop": ("kind",)}
    model = omnifuse.fit(notes(4), "caption", out=folder, tasks={"caption": "captioning"}, **options)
    return model, folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A caption beside a class; every third row has no caption, one has neither field nor caption."""
    folder, rows = tmp_path_factory.mktemp("mixed") / "run", notes(3)
    for row in rows[::3]:
        row["caption"] = None
    rows.append({"note": None, "caption": None, "kind": "car"})
    options = {**ONCE, "fields": {"note": "text"}, "report_media": "sample"}
    model = omnifuse.fit(rows, ["kind", "caption"], out=folder, tasks={"caption": "captioning"}, **options)
    return model, folder, rows


def texts(answers, target="caption"):
    return [answer.targets[target].value for answer in answers]


def test_eight_captions_are_learnt_by_heart_and_survive_saving(by_heart):
    model, folder = by_heart
    rows = notes(1)
    truths = [row["caption"] for row in rows]
    assert texts(model.generate(rows)) == truths
    assert texts(model.predict(rows)) == truths
    loaded = omnifuse.load(folder)
    again = loaded.generate(rows, num=3)
    assert [answer.to_json() for answer in again] == [answer.to_json() for answer in model.generate(rows, num=3)]
    assert texts(again) == truths
    result = model.evaluate(rows)["targets"]["caption"]
    assert result["task"] == "captioning"
    assert result["metrics"]["exact_match"]["value"] == 1.0
    assert model.metrics["targets"]["caption"]["metrics"]["exact_match"]["value"] > 0


def test_hypotheses_are_ordered_different_and_scored(by_heart):
    model, _ = by_heart
    for answer in model.generate(notes(1), beams=6, num=4):
        found = answer.targets["caption"]
        scores = [item.score for item in found.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({item.text for item in found.hypotheses}) == len(found.hypotheses) == 4
        assert found.value == found.hypotheses[0].text
        assert 0.5 < found.confidence <= 1
        assert found.hypotheses[0].mean == pytest.approx(found.hypotheses[0].score)


def test_choices_letters_stops_and_lengths_hold(by_heart):
    model, _ = by_heart
    row = notes(1)[:1]
    assert texts(model.generate(row, choices=["ball in blue", "car in green"])) == ["car in green"]
    assert set(texts(model.generate(row, letters="car "))[0]) <= set("car ")
    assert texts(model.generate(row, stop="a", method="greedy")) == ["ca"]
    cut = model.generate(row, max_length=3, method="greedy")[0].targets["caption"]
    assert (cut.value, cut.hypotheses[0].ended) == ("car", False)


def test_samples_depend_on_the_seed_alone(by_heart):
    model, _ = by_heart
    rows, options = notes(1), {"method": "sample", "temperature": 3.0, "num": 3}

    def drawn(seed, rows=rows):
        return [
            [item.text for item in one.targets["caption"].hypotheses]
            for one in model.generate(rows, seed=seed, **options)
        ]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1, rows[:2]) == drawn(1)[:2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "wild"}, "no way to write 'wild'"),
        ({"beams": 0}, "beams is 0"),
        ({"num": 9}, "num is 9"),
        ({"beam": 2}, "no option 'beam'"),
        ({"beams": "many"}, "wrong type"),
        ({"target": "kind"}, "does not write 'kind'"),
        ({"choices": []}, "no text may be written"),
        ({"choices": ["zebra"]}, "not in the texts learnt from"),
        ({"choices": ["car"], "letters": "c"}, "both given"),
    ],
)
def test_options_without_meaning_are_refused(by_heart, options, words):
    with pytest.raises(InputError, match=words):
        by_heart[0].generate(notes(1)[:1], **options)


def test_a_caption_beside_a_class(mixed):
    model, folder, rows = mixed
    assert [item.name for item in model.schema.written] == ["caption"]
    assert list(model.readouts) == ["kind"]
    answers = model.predict(rows, proba=True)
    assert {answer.targets["kind"].value for answer in answers[:-1]} <= set(THINGS)
    assert all(isinstance(value, str) for value in texts(answers[:-1]))
    assert answers[-1].error
    assert texts(answers[-1:]) == [None]
    result = model.evaluate(rows)
    assert list(result["targets"]) == ["kind", "caption"]
    assert result["targets"]["caption"]["rows"] == 16
    assert model.predict_proba(rows).shape == (25, 2)
    page = (folder / "report" / "report.html").read_text()
    assert "Exact match" in page or "exact match" in page
    json.dumps(answers[0].to_json())


def test_the_server_answers_with_texts_and_the_report_shows_wrong_ones(mixed):
    from omnifuse.serve.model_answerer import ModelAnswerer

    model, folder, rows = mixed
    answerer = ModelAnswerer(model)
    found = answerer.answer(answerer.decode([{"note": row["note"]} for row in rows[:3]]))
    assert texts(found) == texts(model.predict(rows[:3]))
    assert [item.targets["kind"].value for item in found] == [
        item.targets["kind"].value for item in model.predict(rows[:3])
    ]
    page = (folder / "report" / "report.html").read_text()
    assert "sure of an id" in page
    assert any(row["caption"] in page for row in rows if row["caption"])


def test_what_texts_do_not_have_is_refused(mixed):
    model, folder, rows = mixed
    with pytest.raises(InputError, match="written and has no classes"):
        model.predict_proba(rows, target="caption")
    with pytest.raises(InputError, match="explanations are of classes"):
        model.explain(rows[1], target="caption")
    assert model.explain(rows[1], target="kind").answers
    from omnifuse.api.exporting import export_model

    with pytest.raises(InputError, match="exported graphs cannot do yet"):
        export_model(model, folder)
    with pytest.raises(InputError, match="--curve compares"):
        omnifuse.fit(
            notes(2),
            "caption",
            out=folder.parent / "no",
            tasks={"caption": "captioning"},
            fields={"note": "text"},
            curve=True,
            **ONCE,
        )


def pictures(folder):
    rows = []
    for number, colour in enumerate(("red", "blue", "green")):
        path = folder / f"{colour}.png"
        Image.fromarray(np.full((8, 8, 3), np.eye(3, dtype=np.uint8)[number] * 200)).save(path)
        rows += [{"photo": str(path), "question": "which colour is it?", "answer": colour}] * 8
    return rows


def sounds(folder):
    rows = []
    for number, word in enumerate(("one", "two", "ten")):
        time = np.arange(8000) / 8000
        path = folder / f"{word}.wav"
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 300 * number) * time), 8000)
        rows += [{"sound": str(path), "topic": "numbers that are said", "said": word}] * 8
    return rows


def printed(*arguments):
    found = CliRunner().invoke(app, [str(one) for one in arguments])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_answers_from_the_command_line(tmp_path):
    rows = pictures(tmp_path)
    options = {**ONCE, "fields": {"question": "text"}}
    omnifuse.fit(rows, "answer", out=tmp_path / "run", tasks={"answer": "answering"}, **options)
    given = [tmp_path / "run", tmp_path / "red.png", tmp_path / "blue.png"]
    asked = ["-q", "which colour is it?", "--choice", "red", "--choice", "blue", "--json"]
    found = json.loads(printed("answer", *given, *asked))
    assert [item["file"] for item in found["texts"]] == [str(path) for path in given[1:]]
    assert {item["text"] for item in found["texts"]} <= {"red", "blue"}
    assert all(item["modalities_used"] == ["photo", "question"] for item in found["texts"])
    lines = printed("answer", *given, "-q", "which?", "--num", "2", "--choice", "red", "--choice", "green").splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{given[1]}: ")
    table = tmp_path / "table.csv"
    table.write_text("photo,question\nred.png,which?\nblue.png,\n")
    rows = json.loads(printed("answer", given[0], table, "--json", "--method", "greedy", "--max-length", "4"))["texts"]
    assert [item["row"] for item in rows] == ["0", "1"]
    for wrong, words in (
        (["caption", *given], "no target of captioning"),
        (["answer", given[0], tmp_path / "no.png"], "there is no file"),
        (["answer", given[0], tmp_path / "table.csv", "-q", "what?"], "a table has its own columns"),
        (["answer", given[0], given[1], "--field", "picture"], "no field 'picture'"),
        (["answer", given[0], given[1], "--beams", "0"], "beams is 0"),
    ):
        with pytest.raises(SystemExit) as ended:
            run([str(one) for one in wrong])
        assert ended.value.code == 2, words


def assert_transcribed(model, loaded, folder):
    """Long, silent and coming sounds; the language model is part of the model folder."""
    kept = loaded.language["said"]
    assert (kept.units, kept.longest_s) == ("words", model.language["said"].longest_s)
    assert set(kept.model.vocabulary[3:]) == {"one", "two", "ten"}
    row = {"sound": str(folder / "one.wav"), "topic": "numbers"}
    first, again = (one.transcribe([row], speech_only=False, num=2)[0] for one in (model, loaded))
    # The file of the language model rounds
    assert [item.text for item in first.hypotheses] == [item.text for item in again.hypotheses]
    assert [item.score for item in first.hypotheses] == pytest.approx([item.score for item in again.hypotheses])
    assert first.words == again.words
    assert loaded.predict([row])[0].targets["said"].value == loaded.transcribe([row], speech_only=False)[0].text
    draw = np.random.default_rng(0)
    sound = np.concatenate([draw.normal(0, 0.1 + 0.2 * (n % 2), 2000) for n in range(120)])
    soundfile.write(folder / "long.wav", sound, 8000)
    long = loaded.transcribe([{"sound": str(folder / "long.wav")}], speech_only=False)[0]
    assert long.duration_s == 30.0
    starts = [word.start_s for word in long.words]
    assert starts == sorted(starts)
    assert all(0 <= word.start_s <= word.end_s <= 30.1 for word in long.words)
    soundfile.write(folder / "silent.wav", np.zeros(16000), 8000)
    silent = loaded.transcribe([{"sound": str(folder / "silent.wav")}, {"sound": None}, {"sound": "no.wav"}])
    assert [(item.text, item.duration_s) for item in silent] == [("", 2.0), ("", 0.0), ("", 0.0)]
    assert "no speech was found" in silent[0].warnings
    assert [item.error is None for item in silent] == [True, False, False]
    for options in ({"beam": 2}, {"lm_weight": -1}, {"beams": "many"}, {"target": "topic"}):
        with pytest.raises(InputError):
            loaded.transcribe([row], **options)
    (folder / "names.txt").write_text("# names\none\nzebra\n")
    given = ["transcribe", folder / "run", folder / "one.wav", "--all-sound", "--phrases", folder / "names.txt"]
    assert "-->" in printed(*given, "--srt") or not printed(*given, "--json").count('"word"')
    assert printed(*given, "--vtt").startswith("WEBVTT")
    lines = [json.loads(line) for line in printed(*given[:3], folder / "silent.wav", "--stream", "--json").splitlines()]
    assert [line["ended"] for line in lines if line["ended"]] == [True, True]
    assert not lines[-1]["pending"]
    arpa = folder / "run" / "model" / "language_0.arpa"
    arpa.write_text(arpa.read_text().replace("one", "two"))
    with pytest.raises(InputError, match="language_0"):
        omnifuse.load(folder / "run")


def test_transcripts_by_ctc_and_attention(tmp_path, capsys):
    rows = sounds(tmp_path)
    options = {**ONCE, "fields": {"topic": "text"}}
    model = omnifuse.fit(rows, "said", out=tmp_path / "run", tasks={"said": "transcription"}, **options)
    assert model.manifest["spec"]["encoders"] == {"sound": "audio-conformer"}
    given = [tmp_path / "run", tmp_path / "one.wav", tmp_path / "ten.wav", "--cell", "topic=numbers that are said"]
    found = json.loads(printed("transcribe", *given, "--json", "--all-sound"))
    assert [item["modalities_used"] for item in found["texts"]] == [["sound", "topic"]] * 2
    loaded = omnifuse.load(tmp_path / "run")
    assert texts(loaded.generate(rows[:1], ctc=0.6), "said") == texts(model.generate(rows[:1], ctc=0.6), "said")
    # A row without its sound is written by the decoder alone
    silent = model.generate([{"sound": None, "topic": "numbers that are said"}])[0]
    assert silent.modalities_used == ("topic",)
    assert isinstance(silent.targets["said"].value, str)
    from omnifuse.training.generate import ctc_frames

    decoded = model.decode(model.opened([rows[0], {"sound": None, "topic": "x"}]))
    frames = ctc_frames(model.members, decoded.packs, np.arange(2), "said")
    assert [len(part) for part in frames] == [25, 0]
    np.testing.assert_allclose(np.exp(frames[0]).sum(axis=1), 1, atol=1e-4)
    with pytest.raises(SystemExit):
        run(["transcribe", str(tmp_path / "run"), str(tmp_path / "run" / "model" / "model.json")])
    assert "does not read" in capsys.readouterr().err
    assert_transcribed(model, loaded, tmp_path)
