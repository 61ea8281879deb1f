"""Speed as ratios against limits that are measured in the same minute; writes results/speed.json.

    python benchmarks/speed.py [--only training row start loader padding] [--repeats N] [--calls N]

training  operations of the model (forward and backward, no recomputation) x rows/s of the whole loop of as many
          networks side by side as fit trains, over the rate of bare matrix products of the model's own shapes in the
          precision of the step (all threads on one, or a thread each: the quicker way), interleaved, median of 5
loader    combined / min(loader alone, model alone), and the share of the second pass that waits for data
padding   useful / computed steps of texts whose lengths are log-normal, as an epoch batches them
row       one row through Model.predict, median of 200 calls
start     `import omnifuse` and `omnifuse --help`, whole process, median of 7
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import RESULTS, hardware, read_json, write_json  # noqa: E402
from benchmarks.score import source_tree  # noqa: E402

# Passes of one training that is timed: a checkpoint is written at its end, in a fit every 30 s
PASSES = 4
PARTS = ("training", "loader", "row", "start", "padding")
# M, K, N and how many of them side by side (groups of a convolution, heads of attention)
Product = tuple[int, int, int, int]


def products_of(call: Callable[[], Any]) -> Counter[Product]:
    """The matrix products that a call amounts to, convolutions written as products."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils._python_dispatch import TorchDispatchMode

    found: Counter[Product] = Counter()

    class Listen(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            name = function.overloadpacket.__name__
            if name in ("mm", "addmm"):
                left, right = args[-2:]
                found[(left.shape[0], left.shape[1], right.shape[1], 1)] += 1
            elif name in ("bmm", "baddbmm"):
                left, right = args[-2:]
                found[(left.shape[1], left.shape[2], right.shape[2], left.shape[0])] += 1
            elif name == "convolution":
                weight, groups = args[1], args[8]
                places = result.shape[0] * math.prod(result.shape[2:])
                found[(places, math.prod(weight.shape[1:]), weight.shape[0] // groups, groups)] += 1
            return result

    # The fused attention hides its two products
    with sdpa_kernel(SDPBackend.MATH), Listen():
        call()
    return found


def product_rate(products: Counter[Product], dtype: Any, device: str = "cpu") -> float:
    """Operations a second of the products run bare, one after another."""
    import torch

    total, seconds = 0.0, 0.0
    for (rows, inner, columns, count), times in products.items():
        left, right = (
            torch.randn(shape, device=device).to(dtype) for shape in ((count, rows, inner), (count, inner, columns))
        )
        run = torch.bmm if count > 1 else torch.mm
        first, second = (left, right) if count > 1 else (left[0], right[0])
        run(first, second)
        repeats = max(3, min(50, int(2e8 / (2 * count * rows * inner * columns))))
        if device != "cpu":
            # Enough of them that the time of one launch does not show
            repeats = 20
            run(first, second)
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(repeats):
            run(first, second)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds += times * (time.perf_counter() - began) / repeats
        total += times * 2.0 * count * rows * inner * columns
    return total / seconds


@dataclass
class Ready:
    """A source whose batches are there already: the model alone."""

    batches: list[Any]
    rows: np.ndarray
    seed: int = 0
    weights: None = None
    waited: float = field(default=0.0)

    @property
    def batch_size(self) -> int:
        return max(batch.size for batch in self.batches)

    @property
    def steps_per_epoch(self) -> int:
        return len(self.batches)

    def steps(self, start: int, stop: int) -> Iterator[Any]:
        for step in range(start, stop):
            yield self.batches[step % len(self.batches)]

    def share(self, batch: Any) -> float:
        return float(batch.size * len(self.batches) / len(self.rows))


@dataclass
class Bench:
    """What is trained: pictures of a generated world, in the default preset."""

    prepared: Any
    preset: Any
    rows: np.ndarray
    work: Path

    @classmethod
    def on_pictures(
        cls,
        work: Path,
        *,
        num_rows: int,
        preset: str = "auto",
        settings: Mapping[str, str] | None = None,
        encoder: str | None = None,
        side: int | None = None,
    ) -> Bench:
        """Pictures of rooms, enlarged to a side where that is asked for, and a preset with some settings changed."""
        from omnifuse.api.options import FitOptions, silent
        from omnifuse.api.prepare import prepare, read_schema
        from omnifuse.data.rooms import COLUMNS, generate_rooms
        from omnifuse.data.tables import open_table
        from omnifuse.presets import choose_preset, with_settings

        path = generate_rooms(work / "data", num_train=num_rows, num_test=1, holes=0.0)[0]
        if side is not None:
            _enlarge(path.parent, side)
        table = open_table(path)
        drop = tuple(name for name in COLUMNS if name not in ("picture", "event"))
        options = FitOptions(("event",), work / "fit", drop=drop)
        schema = read_schema(table, options)
        chosen = with_settings(choose_preset(preset, schema, table.num_rows), settings or {})
        if encoder is not None:
            chosen = replace(chosen, model=replace(chosen.model, encoders={"picture": encoder}))
        inputs = chosen.input_options(schema)
        return cls(
            prepare(table, schema, options, input_options=inputs, listen=silent, cache=None),
            chosen,
            np.arange(num_rows),
            work,
        )

    def model(self) -> Any:
        import torch

        from omnifuse.building import build_from_spec
        from omnifuse.training.batches import make_batch

        torch.manual_seed(0)
        model = build_from_spec(self.prepared.schema, self.prepared.preprocessors, self.preset.model)
        model.initialise(make_batch(self.prepared.packs, self.rows[:256]))
        return model

    def source(self) -> Any:
        from omnifuse.api.member import training_targets
        from omnifuse.data.augment import Augmenter
        from omnifuse.training.batches import BatchSource
        from omnifuse.training.precision import choose_batch_size

        modalities = {item.name: item.modality for item in self.prepared.schema.inputs}
        change = Augmenter.default(modalities, self.preset.training.augment, preprocessors=self.prepared.preprocessors)
        targets = training_targets(self.prepared, self.prepared.schema, self.rows)
        size = self.preset.training.batch_size or choose_batch_size(len(self.rows))
        return BatchSource(self.prepared.packs, targets, self.rows, size, 0, change)

    def trainer(self, source: Any, precision: str, lane: int = 0) -> Any:
        from omnifuse.training.checkpoint import CheckpointFolder
        from omnifuse.training.loggers import make_logger
        from omnifuse.training.loop import Trainer

        return Trainer(
            self.model(),
            source,
            self.preset.training,
            seed=lane,
            place=CheckpointFolder(self.work / "checkpoints" / str(lane)),
            logger=make_logger("tensorboard", self.work / "logs" / str(lane)),
            precision=precision,
        )

    def train(self, sources: list[Any], precision: str) -> float:
        """Rows a second of a few passes by networks side by side: loader, steps, logging, checkpoint."""
        from omnifuse.training.lanes import side_by_side

        trainers = [self.trainer(source, precision, lane) for lane, source in enumerate(sources)]
        began = time.perf_counter()
        side_by_side([lambda halt, trainer=trainer: trainer.run(epochs=PASSES) for trainer in trainers])
        seconds = time.perf_counter() - began
        for trainer in trainers:
            trainer.logger.close()
        return PASSES * len(sources) * len(self.rows) / seconds


def _enlarge(folder: Path, side: int) -> None:
    """Make all pictures of a folder so many pixels high and wide."""
    from PIL import Image

    for path in folder.rglob("*.png"):
        with Image.open(path) as picture:
            larger = picture.resize((side, side), Image.Resampling.BILINEAR)
        larger.save(path, compress_level=1)


def _batches(source: Any, count: int) -> list[Any]:
    return list(source.steps(0, min(count, source.steps_per_epoch)))


def lane_product_rate(products: Counter[Product], dtype: Any, lanes: int) -> float:
    """As `product_rate`, one thread beside another; the higher rate of both ways is the limit."""
    from omnifuse.training.lanes import side_by_side

    return sum(side_by_side([lambda halt: product_rate(products, dtype)] * lanes))


def measure_training(bench: Bench, repeats: int) -> dict[str, Any]:
    """Share of the rate of bare products that training reaches."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from omnifuse.training.lanes import available_lanes
    from omnifuse.training.precision import choose_precision

    batch, model, lanes = _batches(bench.source(), 1)[0], bench.model().train(), available_lanes()
    precision = choose_precision("auto", model, batch, by_time=True)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(batch).loss.backward()
    operations = counter.get_total_flops() / batch.size
    with torch.no_grad():
        products = products_of(lambda: model(batch))

    def limit() -> float:
        return max(product_rate(products, dtype), lane_product_rate(products, dtype, lanes))

    def train() -> float:
        return bench.train([bench.source() for _ in range(lanes)], precision)

    train()
    rates, limits, ratios = [], [limit()], []
    for _ in range(repeats):
        rates.append(train())
        limits.append(limit())
        ratios.append(operations * rates[-1] / statistics.mean(limits[-2:]))
    return {
        "training / matrix products": {
            "value": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
            "unit": "ratio",
            "limit": ">= 0.35",
            "operations_a_row": operations,
            "rows_per_s": statistics.median(rates),
            "products_per_s": statistics.median(limits),
            "precision": precision,
            "lanes": lanes,
            "batch": batch.size,
            "products": [[*shape, times] for shape, times in products.most_common()],
        }
    }


def measure_loader(bench: Bench, repeats: int) -> dict[str, Any]:
    """Whether the loader hides behind the model, on one thread as in a lane."""
    import torch

    from omnifuse.training.precision import choose_precision

    ready = Ready(_batches(bench.source(), 10_000), bench.rows)
    precision = choose_precision("auto", bench.model().train(), ready.batches[0], by_time=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone: dict[str, list[float]] = {"loader": [], "model": [], "combined": []}
    for _ in range(repeats):
        source, began = bench.source(), time.perf_counter()
        for _ in source.steps(0, source.steps_per_epoch):
            pass
        alone["loader"].append(len(bench.rows) / (time.perf_counter() - began))
        alone["model"].append(bench.train([ready], precision))
        alone["combined"].append(bench.train([bench.source()], precision))
    waits = [second_pass_wait(bench, precision) for _ in range(repeats)]
    torch.set_num_threads(before)
    ratios = [
        both / min(loader, model)
        for loader, model, both in zip(alone["loader"], alone["model"], alone["combined"], strict=True)
    ]
    rates = {
        f"{name} alone" if name != "combined" else name: {
            "value": statistics.median(found), "spread": [min(found), max(found)], "unit": "rows/s",
        }
        for name, found in alone.items()
    }  # fmt: skip
    ratio = {"value": statistics.median(ratios), "spread": [min(ratios), max(ratios)], "unit": "ratio"}
    wait = {"value": statistics.median(waits), "spread": [min(waits), max(waits)], "unit": "share", "limit": "<= 0.03"}
    return {"combined / min(loader, model)": {**ratio, "limit": ">= 0.95"}, "wait of the second pass": wait, **rates}


def second_pass_wait(bench: Bench, precision: str) -> float:
    """Share of the second pass that training waits for batches."""
    source = bench.source()
    trainer = bench.trainer(source, precision)
    told: list[tuple[int, float, float]] = []
    trainer.report = lambda data: told.append((data["step"], time.perf_counter(), source.waited))
    trainer.run(epochs=2)
    trainer.logger.close()
    first = next(item for item in told if item[0] == source.steps_per_epoch)
    last = told[-1]
    return (last[2] - first[2]) / (last[1] - first[1])


def measure_padding(repeats: int) -> dict[str, Any]:
    """Share of the computed steps that are no padding, for 10,000 texts of mixed lengths."""
    from omnifuse.data.pack import Pack
    from omnifuse.training.batches import BatchSource, useful_tokens
    from omnifuse.training.precision import choose_batch_size

    lengths = np.clip(np.random.default_rng(0).lognormal(3.2, 0.8, size=10_000).round(), 1, 192).astype(np.int64)
    values = {"ids": np.zeros(int(lengths.sum()), np.int32)}
    pack = Pack(values, np.concatenate([[0], np.cumsum(lengths)]), np.ones(len(lengths), bool))
    shares = []
    for seed in range(repeats):
        source = BatchSource({"text": pack}, {}, np.arange(len(lengths)), choose_batch_size(len(lengths)), seed)
        counts = np.array([useful_tokens(batch) for batch in source.steps(0, source.steps_per_epoch)])
        useful, computed = counts.sum(axis=0)
        shares.append(float(useful / computed))
    spread = [min(shares), max(shares)]
    return {
        "useful / computed tokens": {
            "value": statistics.median(shares), "spread": spread, "unit": "ratio", "limit": ">= 0.97",
        }
    }  # fmt: skip


def _timed(calls: int, call: Callable[[int], Any]) -> dict[str, Any]:
    for number in range(20):
        call(number)
    times = []
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        times.append(1000 * (time.perf_counter() - began))
    low, middle, high = np.percentile(times, [10, 50, 90])
    return {"value": float(middle), "spread": [float(low), float(high)], "unit": "ms"}


def measure_row(work: Path, calls: int) -> dict[str, Any]:
    """Median time of one row; weights are those of one pass, which costs the same as the best ones."""
    import omnifuse
    from omnifuse.data.rooms import COLUMNS, generate_rooms
    from omnifuse.data.tables import open_table

    train, test = generate_rooms(work / "rooms", num_train=300, num_test=64, holes=0.0)
    table, found = open_table(test), {}
    for words, left_out, limit in (
        ("table + text", ("picture", "sound"), "<= 15"),
        ("table + text + picture", ("sound",), "<= 30"),
    ):
        out = work / words.replace(" ", "")
        model = omnifuse.fit(train, "event", out=out, drop=left_out, epochs=1, baselines=False, logger="none")
        used = [name for name in COLUMNS if name not in ("event", *left_out)]
        columns = {name: table.cells(name) for name in used}
        rows = [{name: columns[name][number] for name in used} for number in range(table.num_rows)]
        for row in rows:
            if "picture" in row:
                row["picture"] = str(test.parent / row["picture"])
        timed = _timed(calls, lambda number, model=model, rows=rows: model.predict([rows[number % 64]]))
        found[f"one row, {words}"] = {**timed, "limit": limit}
    return found


def measure_start(repeats: int) -> dict[str, Any]:
    """Whole-process seconds of the first import and the first help."""
    command = Path(sys.executable).with_name("omnifuse")
    helped = [str(command)] if command.exists() else [sys.executable, "-m", "omnifuse.cli.main"]
    found = {}
    for name, words in (
        ("import omnifuse", [sys.executable, "-c", "import omnifuse"]),
        ("omnifuse --help", [*helped, "--help"]),
    ):
        times = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - began)
        times = times[1:]
        spread = [min(times), max(times)]
        found[name] = {"value": statistics.median(times), "spread": spread, "unit": "s", "limit": "<= 0.3"}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1024, help="pictures in the training measurement")
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.json")
    asked = parser.parse_args()
    load, state = os.getloadavg(), source_tree()
    old = read_json(asked.out)
    results = dict(old["results"]) if old.get("state") == state["state"] else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if {"training", "loader"} & set(asked.only):
            bench = Bench.on_pictures(work, num_rows=asked.rows)
            if "training" in asked.only:
                results |= measure_training(bench, asked.repeats)
            if "loader" in asked.only:
                results |= measure_loader(bench, asked.repeats)
        if "padding" in asked.only:
            results |= measure_padding(asked.repeats)
        if "row" in asked.only:
            results |= measure_row(work, asked.calls)
        if "start" in asked.only:
            results |= measure_start(max(7, asked.repeats))
    write_json(asked.out, {**state, "load": list(load), "hardware": hardware(), "results": results})
    for name, item in results.items():
        print(f"{name}: {item['value']:.4g} {item['unit']} {item.get('limit', '')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
