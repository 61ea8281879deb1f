"""What the torch-free environment is given: an exported model, rows with and without holes, and the model's answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.conftest import QUICK, World, room_rows

NUM_ROWS, NUM_WITH_HOLES = 4, 6
IDS = ("id", "event")


def given_rows(world: World) -> list[dict[str, Any]]:
    """Complete rows, the same with every second cell empty, and each field of one row alone."""
    whole = [row for row in room_rows(world.test, 40) if all(value not in (None, "") for value in row.values())]
    rows = [{name: value for name, value in row.items() if name not in IDS} for row in whole[:NUM_ROWS]]
    holes = [
        {name: value for place, (name, value) in enumerate(rows[number % NUM_ROWS].items()) if (place + number) % 2}
        for number in range(NUM_WITH_HOLES)
    ]
    return [*rows, *holes, *({name: value} for name, value in rows[0].items())]


def write_given(model: Any, run: Path, world: World, out: Path) -> None:
    """Write `given.json`: where the run lies, rows with whole paths, and what the model in PyTorch answers.

    Args:
        model: The trained model.
        run: Its run folder, exported.
        world: Whose test rows are asked.
        out: Folder to write into.
    """
    rows = given_rows(world)
    answers = [
        {name: [found.value, found.probabilities] for name, found in answer.targets.items()}
        for answer in model.predict(rows, proba=True)
    ]
    data = {"run": str(run.resolve()), "table": str(world.test.resolve()), "rows": rows, "answers": answers}
    (out / "given.json").write_text(json.dumps(data))


def main(out: Path) -> None:
    """Generate rooms, fit in seconds, export, and write what is given."""
    import omnifuse
    from omnifuse.api.exporting import export_model

    train, test = omnifuse.generate_rooms(out / "rooms", num_train=80, num_test=40)
    model = omnifuse.fit(train, "event", out=out / "run", **QUICK)
    export_model(omnifuse.load(out / "run"), out / "run")
    write_given(model, out / "run", World(out / "rooms", train, test), out)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    main(folder.resolve())
