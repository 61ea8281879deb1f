"""Recipes read only what they may, say the command that does the same, and make the same holes each time."""

import csv

import pytest
import recipes
from recipes import Recipe, all_recipes, command_of, find_data, table_path

# What data sets hold besides; some of it is the answer
TRAPS = ("id", "mnist_file", "finding", "label3", "sentiment", "text_de", "clinical_notes", "license")


def header_of(recipe):
    beside = [name for name in (recipe.group, recipe.time) if name]
    return [*TRAPS, *recipe.fields, recipe.label, *beside]


def test_number_of_recipes():
    assert len(all_recipes()) == 14
    assert [name for name in all_recipes() if name.startswith("avmnist_hard")] == [
        "avmnist_hard",
        "avmnist_hard_image",
        "avmnist_hard_audio",
        "avmnist_hard_holes",
        "avmnist_hard_filled",
    ]


@pytest.mark.parametrize("recipe", all_recipes().values(), ids=lambda recipe: recipe.name)
def test_only_allowed_columns_are_read(recipe):
    header = header_of(recipe)
    read = set(header) - set(recipe.dropped(header))
    assert read == {*recipe.used, recipe.label} | {name for name in (recipe.group, recipe.time) if name}
    assert not read & set(TRAPS)


@pytest.mark.parametrize("recipe", all_recipes().values(), ids=lambda recipe: recipe.name)
def test_command_line_knows_every_option(recipe):
    from typer.main import get_command

    from omnifuse.cli.main import app

    known = {word for item in get_command(app).commands["fit"].params for word in (*item.opts, *item.secondary_opts)}
    command = command_of(recipe, header_of(recipe), seed=2)
    options = {word for word in command.split() if word.startswith("--")}
    assert options <= known
    assert f"--label {recipe.label} " in command
    assert f"--minutes {recipe.minutes:g} --seed 2" in command


def test_absent_column_is_named():
    recipe = all_recipes()["occupancy"]
    with pytest.raises(ValueError, match="no column Light"):
        recipe.dropped([name for name in header_of(recipe) if name != "Light"])


def test_label_among_fields_is_refused():
    with pytest.raises(AssertionError, match="is among the fields"):
        Recipe("x", "pack", "label", ("image", "label"), "nowhere")


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
