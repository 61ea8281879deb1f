"""Recipes read only what they may, say the command that does the same, and make the same holes each time."""

import csv

import numpy as np
import pytest
import recipes
from recipes import Further, Recipe, all_recipes, command_of, find_data, fit, table_path, written_recipes

# What data sets hold besides; some of it is the answer
TRAPS = ("id", "mnist_file", "finding", "label3", "sentiment", "text_de", "clinical_notes", "license",
         "Emotion", "label_text_only", "label_image_only", "label_name", "digits")  # fmt: skip

EVERY = [*all_recipes().values(), *written_recipes().values()]


def header_of(recipe):
    beside = [name for name in (recipe.group, recipe.time) if name]
    return [*TRAPS, *recipe.fields, recipe.label, *beside]


def test_number_of_recipes():
    assert len(all_recipes()) == 17
    assert [name for name in all_recipes() if name.startswith("avmnist_hard")] == [
        "avmnist_hard",
        "avmnist_hard_image",
        "avmnist_hard_audio",
        "avmnist_hard_holes",
        "avmnist_hard_filled",
    ]


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.name)
def test_only_allowed_columns_are_read(recipe):
    header = header_of(recipe)
    read = set(header) - set(recipe.dropped(header))
    assert read == {*recipe.used, recipe.label} | {name for name in (recipe.group, recipe.time) if name}
    assert not read & set(TRAPS)


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.name)
def test_command_line_knows_every_option(recipe):
    from typer.main import get_command

    from omnifuse.cli.main import app

    known = {word for item in get_command(app).commands["fit"].params for word in (*item.opts, *item.secondary_opts)}
    command = command_of(recipe, header_of(recipe), seed=2)
    options = {word for word in command.split() if word.startswith("--")}
    assert options <= known
    assert f"--label {recipe.label} " in command
    assert f"--minutes {recipe.minutes:g} --seed 2" in command


def test_recipes_of_texts_are_apart_and_name_their_task():
    assert not set(written_recipes()) & set(all_recipes())
    recipe = written_recipes()["spoken_digits"]
    assert "--task transcript=transcription " in command_of(recipe, header_of(recipe))
    with pytest.raises(AssertionError, match="accuracy is none of"):
        Recipe("x", "pack", "text", ("sound",), "nowhere", task="transcription")


def test_absent_column_is_named():
    recipe = all_recipes()["occupancy"]
    with pytest.raises(ValueError, match="no column Light"):
        recipe.dropped([name for name in header_of(recipe) if name != "Light"])


def test_label_among_fields_is_refused():
    with pytest.raises(AssertionError, match="is among the fields"):
        Recipe("x", "pack", "label", ("image", "label"), "nowhere")


def test_what_cannot_be_published_is_refused():
    fields = ("x", "pack", "label", ("image",), "nowhere")
    with pytest.raises(AssertionError, match="publishes a metric twice"):
        Recipe(*fields, also=(Further("accuracy"),))
    with pytest.raises(AssertionError, match="2 aims for 1 test tables"):
        Recipe(*fields, also=(Further("f1_macro", (0.5, 0.5)),))
    with pytest.raises(AssertionError, match="f2 is none of"):
        Recipe(*fields, also=(Further("f2"),))
    with pytest.raises(AssertionError, match="a window without a time"):
        Recipe(*fields, window=5)


def test_light_and_other_answers_are_not_read_with_the_past():
    recipe = all_recipes()["occupancy_past"]
    header = ["row", "date", "Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy"]
    assert recipe.dropped(header) == ("row", "Light")
    assert "--time date " in command_of(recipe, header)
    assert "--window" not in command_of(recipe, header)


@pytest.mark.parametrize("window", [None, 9])
def test_window_reaches_the_command_and_the_fit(window, tmp_path, monkeypatch):
    import omnifuse

    recipe = Recipe("x", "pack", "y", ("a",), "nowhere", time="t", window=window)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "train.csv").write_text("t,a,y,z\n0,1,b,2\n", encoding="utf-8")
    given = {}
    monkeypatch.setattr(omnifuse, "fit", lambda table, label, **options: given.update(options))
    fit(recipe, tmp_path, tmp_path / "out")
    assert (given["time"], given.get("window")) == ("t", window)
    assert given["drop"] == ("z",)
    assert ("--window 9" in command_of(recipe, ["t", "a", "y", "z"])) == (window == 9)


def test_frames_of_the_video_stand_below_the_test_pictures(tmp_path):
    from PIL import Image
    from tests.made_video import ramp, video

    recipe, pack = all_recipes()["fire"], tmp_path / "fire_images"
    (pack / "video").mkdir(parents=True)
    (pack / "test.csv").write_text("id,image,label,label_name\n1,images/a.jpg,0,none\n", encoding="utf-8")
    video(ramp(40, height=240, width=480), path=pack / "video" / "house6.mp4")
    path = table_path(recipe, recipes.FRAMES_TABLE, tmp_path, tmp_path / "work")
    with open(path, newline="", encoding="utf-8") as handle:
        first, *frames = list(csv.DictReader(handle))
    assert first == {"id": "1", "image": str(pack / "images" / "a.jpg"), "label": "0", "label_name": "none"}
    assert len(frames) == 40
    assert {(row["label"], row["id"], row["label_name"]) for row in frames} == {("1", "", "")}
    pictures = [np.asarray(Image.open(row["image"])) for row in frames]
    assert {picture.shape for picture in pictures} == {(120, 240, 3)}
    levels = [picture.mean() for picture in pictures]
    assert levels[0] < 5
    assert levels[-1] > 250
    assert levels == sorted(levels)


def write_digits(folder, rows=40):
    folder.mkdir()
    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["id", "image", "audio", "label"])
        table.writerows([[n, f"images/{n}.png", f"audio/{n}.wav", n % 10] for n in range(rows)])


def test_holes_are_half_of_the_cells_and_the_same_each_time(tmp_path):
    write_digits(tmp_path / "avmnist_hard")
    recipe = all_recipes()["avmnist_hard_holes"]
    path = table_path(recipe, "train.csv", tmp_path, tmp_path / "work")
    first = path.read_bytes()
    assert table_path(recipe, "train.csv", tmp_path, tmp_path / "work").read_bytes() == first
    with open(path, newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    cells = [row[field] for row in rows for field in ("image", "audio")]
    assert cells.count("") == 40
    assert all(cell.startswith(str(tmp_path / "avmnist_hard")) for cell in cells if cell)
    assert [row["label"] for row in rows] == [str(n % 10) for n in range(40)]


def test_filled_holes_are_the_same_cells_with_black_pictures_and_silence(tmp_path):
    import soundfile
    from PIL import Image

    write_digits(tmp_path / "avmnist_hard")
    tables = []
    for name in ("avmnist_hard_holes", "avmnist_hard_filled"):
        path = table_path(all_recipes()[name], "train.csv", tmp_path, tmp_path / "work")
        with open(path, newline="", encoding="utf-8") as handle:
            tables.append(list(csv.DictReader(handle)))
    blank = tmp_path / "work" / "avmnist_hard_filled"
    for holes, filled in zip(*tables, strict=True):
        assert filled["image"] == (holes["image"] or str(blank / "black.png"))
        assert filled["audio"] == (holes["audio"] or str(blank / "silence.wav"))
    with Image.open(blank / "black.png") as picture:
        assert (picture.mode, picture.size, picture.getextrema()) == ("L", (28, 28), (0, 0))
    sound, rate_hz = soundfile.read(blank / "silence.wav")
    assert (rate_hz, sound.shape, abs(sound).max()) == (8000, (3600,), 0.0)


def test_what_cannot_be_filled_is_refused():
    with pytest.raises(AssertionError, match="nothing can fill"):
        Recipe("x", "pack", "label", ("note",), "nowhere", holes=0.5, fill=True)


def test_holes_are_held_against_the_complete_recipe():
    for name in ("avmnist_hard_holes", "avmnist_hard_filled"):
        assert recipes.whole_of(all_recipes()[name]).name == "avmnist_hard"


def test_absent_pack_names_its_repository(tmp_path):
    with pytest.raises(FileNotFoundError, match="github:LuisM78/Occupancy-detection-data"):
        table_path(all_recipes()["occupancy"], "train.csv", tmp_path, tmp_path)


def test_without_data_one_line_and_nothing_else(monkeypatch, capsys):
    from recipes.__main__ import main

    monkeypatch.delenv(recipes.DATA_VARIABLE, raising=False)
    assert find_data() is None
    capsys.readouterr()
    assert main(["emodb"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "skipped: set OMNIFUSE_DATA to the folder that holds the data sets\n"


def test_unknown_recipe_exits_2(capsys):
    from recipes.__main__ import main

    assert main(["emobd"]) == 2
    assert "there is no recipe emobd" in capsys.readouterr().err
