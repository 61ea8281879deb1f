"""Speed of training on a graphics card, as ratios against limits of the same minute; writes results/gpu.json.

    python benchmarks/gpu.py [--repeats N] [--seconds-budget S] [--profile] [--device cpu --tiny]

share     operations of a network of the size of ViT-B (forward and backward, no recomputation) x rows/s of the whole
          loop (augmenting loader, logging, checkpoints as often as training writes them), over the rate of bare matrix
          products of the model's own shapes in bf16, interleaved, median
loader    combined / min(loader alone, model alone)
fp32      the same loop without bf16
small     the default preset on the same kind of pictures
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import RESULTS, hardware, write_json  # noqa: E402
from benchmarks.score import source_tree  # noqa: E402
from benchmarks.speed import Bench, Ready, product_rate, products_of  # noqa: E402

MAKERS = (1, 2, 4, 8)
# Steps that are not counted: the first ones allocate and choose algorithms
WARM_STEPS = 4
# What makes the processor wait for the card, and what it hands over
COUNTED = (
    "aten::item", "aten::_local_scalar_dense", "aten::nonzero", "cudaStreamSynchronize", "cudaDeviceSynchronize",
    "cudaEventSynchronize", "cudaMemcpyAsync", "cudaLaunchKernel", "cudaMalloc", "cudaHostAlloc",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What is trained."""

    num_rows: int
    batch: int
    side: int
    settings: dict[str, str]

    def all_settings(self) -> dict[str, str]:
        return self.settings | {
            "largest_image": str(self.side), "batch_size": str(self.batch), "shallow": "none", "fusion_depth": "1",
        }  # fmt: skip


VIT_B = Size(1536, 256, 112, {"dim": "768", "num_heads": "12", "encoder_depth": "12"})
TINY = Size(48, 8, 48, {"dim": "16", "num_heads": "2", "encoder_depth": "1"})


@dataclass(frozen=True)
class Loop:
    """Rows a second of the steps of a training, seconds of one checkpoint, and the share of waiting for batches."""

    steps_rate: float
    save_s: float
    wait_share: float

    @property
    def rate(self) -> float:
        """Rows a second with a checkpoint as often as a fit writes it."""
        from omnifuse.training.loop import checkpoint_pause

        pause = checkpoint_pause(self.save_s)
        return self.steps_rate * pause / (pause + self.save_s)


def timed_loop(bench: Bench, source: Any, precision: str, seconds: float, *, most_passes: int = 200) -> Loop:
    """Train for about so many seconds; two passes before tell how many passes that are."""
    passes = 2
    pilot = _run(bench, source, precision, passes)
    rows_s = max(pilot.steps_rate, 1e-6)
    passes = int(min(max(seconds * rows_s / len(source.rows), 2), most_passes))
    return _run(bench, source, precision, passes)


def _run(bench: Bench, source: Any, precision: str, passes: int) -> Loop:
    gc.collect()  # a training before holds its weights in a circle of references
    trainer = bench.trainer(source, precision)
    moments: list[tuple[int, float, float]] = []
    saves: list[float] = []
    save = trainer._save

    def timed_save(*given: Any) -> None:
        _wait()
        began = time.perf_counter()
        save(*given)
        _wait()
        saves.append(time.perf_counter() - began)

    trainer._save = timed_save
    trainer.report = lambda data: moments.append((data["step"], time.perf_counter() - sum(saves), source.waited))
    trainer.run(epochs=passes)
    trainer.logger.close()
    first, last = moments[min(WARM_STEPS, len(moments) // 2) - 1], moments[-1]
    rows = (last[0] - first[0]) * len(source.rows) / source.steps_per_epoch
    seconds = max(last[1] - first[1], 1e-9)
    return Loop(rows / seconds, statistics.mean(saves), (last[2] - first[2]) / seconds)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _figure(values: list[float], unit: str, **more: Any) -> dict[str, Any]:
    return {"value": statistics.median(values), "spread": [min(values), max(values)], "unit": unit, **more}


def count_work(bench: Bench, device: str, precision: str) -> tuple[float, Counter[Any]]:
    """Operations a row of a step, and the products of a forward of a whole batch."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from omnifuse.training.accumulation import rows_of

    batch = next(iter(bench.source().steps(0, 1)))
    model = bench.model().train().to(device)
    few = rows_of(batch, 0, min(16, batch.size)).to(device)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(few).loss.backward()
        whole = batch.to(device)
        with torch.no_grad():
            products = products_of(lambda: model(whole))
    return counter.get_total_flops() / few.size, products


def measure_share(
    bench: Bench, device: str, precision: str, repeats: int, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The share of the rate of bare products that training reaches, and the rates it is made of."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    operations, products = count_work(bench, device, precision)
    product_rate(products, dtype, device)
    limits, loops, ratios, steps_ratios = [product_rate(products, dtype, device)], [], [], []
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        loops.append(timed_loop(bench, bench.source(), precision, seconds))
        limits.append(product_rate(products, dtype, device))
        limit = statistics.mean(limits[-2:])
        ratios.append(operations * loops[-1].rate / limit)
        steps_ratios.append(operations * loops[-1].steps_rate / limit)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else None
    share = _figure(
        ratios,
        "ratio",
        operations_a_row=operations,
        products_per_s=statistics.median(limits),
        steps_alone=statistics.median(steps_ratios),
        precision=precision,
        batch=bench.source().batch_size,
        parameters=sum(value.numel() for value in bench.model().parameters()),
        peak_gib=peak,
        checkpoint_s=statistics.median(loop.save_s for loop in loops),
        wait_share=statistics.median(loop.wait_share for loop in loops),
        products=[[*shape, times] for shape, times in products.most_common()],
    )
    return share, _figure([loop.rate for loop in loops], "rows/s")


def loader_rate(bench: Bench, makers: int, seconds: float) -> float:
    """Rows a second of the loader alone, on so many threads (0: as many as training takes)."""
    source = bench.source()
    source.makers = makers
    rows, began = 0, 0.0
    for number, batch in enumerate(source.steps(0, 10_000)):
        if number == 2:  # the first ones start threads and take memory
            began = time.perf_counter()
        if number >= 2:
            rows += batch.size
        if number > 6 and time.perf_counter() - began > seconds:
            break
    return rows / (time.perf_counter() - began)


def measure_loader(bench: Bench, precision: str, combined: float, seconds: float) -> dict[str, Any]:
    """Whether the loader hides behind the model."""
    source = bench.source()
    ready = Ready(list(source.steps(0, source.steps_per_epoch)), bench.rows)
    model = timed_loop(bench, ready, precision, seconds).rate
    alone = loader_rate(bench, 0, seconds / 4)
    of_makers = {str(makers): loader_rate(bench, makers, seconds / 4) for makers in MAKERS}
    return {
        "combined / min(loader, model)": _figure([combined / min(alone, model)], "ratio", limit=">= 0.95"),
        "loader alone": _figure([alone], "rows/s", by_threads=of_makers),
        "model alone": _figure([model], "rows/s"),
    }


def profile(bench: Bench, precision: str, *, cuda: bool) -> None:
    """Print where the time of a few steps goes, and every place that waits for the card."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as start_profile

    first, steps = 6, 5
    source = bench.source()
    trainer = bench.trainer(source, precision)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    profiler = start_profile(activities=activities)
    waits: Counter[str] = Counter()
    times: dict[str, float] = {}
    shown = warnings.showwarning

    def note(message: Any, category: Any, filename: str, lineno: int, *more: Any) -> None:
        waits[f"{filename}:{lineno} {str(message)[:60]}"] += 1

    def report(data: dict[str, Any]) -> None:
        if data["step"] == first:
            profiler.start()
            times["began"] = time.perf_counter()
        if data["step"] == first + steps:
            _wait()
            times["ended"] = time.perf_counter()
            profiler.stop()
        if cuda and data["step"] == first + steps + 1:
            warnings.showwarning = note
            torch.cuda.set_sync_debug_mode("warn")
        if cuda and data["step"] == first + steps + 2:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = shown

    trainer.report = report
    trainer.place = None
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        trainer.run(epochs=-(-(first + steps + 4) // source.steps_per_epoch))
    trainer.logger.close()
    found = profiler.key_averages()
    for key in ("self_cuda_time_total", "self_cpu_time_total") if cuda else ("self_cpu_time_total",):
        print(f"\n== top 25 by {key}, {steps} steps")
        print(found.table(sort_by=key, row_limit=25, max_name_column_width=70))
    wall = times["ended"] - times["began"]
    print(f"\n== {1000 * wall / steps:.1f} ms a step while profiled")
    if cuda:
        busy = sum(getattr(item, "self_device_time_total", 0.0) for item in found) / 1e6
        print(f"== kernels: {1000 * busy / steps:.1f} ms a step, {busy / wall:.0%} of the time")
    for item in found:
        if item.key in COUNTED:
            print(f"== {item.key}: {item.count / steps:.1f} a step, {item.self_cpu_time_total / 1e3 / steps:.2f} ms")
    for place, count in waits.most_common():
        print(f"== waits in one step: {count} x {place}")


def measured(
    work: Path, size: Size, device: str, *, repeats: int, seconds: float, left: Callable[[], float]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each result as it is there; what the time does not suffice for is left out."""
    words = "ViT-B size" if size is VIT_B else "tiny size"
    bench = vit_bench(work, size)
    share, rates = measure_share(bench, device, "bf16", repeats, seconds)
    combined = rates["value"]
    yield f"training / matrix products, {words}", {**share, "limit": ">= 0.5"}
    yield f"training, {words}, bf16", rates
    if left() > 6 * seconds:
        yield from measure_loader(bench, "bf16", combined, seconds).items()
    if left() > 6 * seconds:
        small = Bench.on_pictures(work / "small", num_rows=size.num_rows)
        default = [timed_loop(small, small.source(), "bf16", seconds / 2).rate for _ in range(repeats)]
        yield "training, default preset, bf16", _figure(default, "rows/s", batch=small.source().batch_size)
        full = [timed_loop(small, small.source(), "fp32", seconds / 2).rate]
        yield "training, default preset, fp32", _figure(full, "rows/s", batch=small.source().batch_size)
    if left() > 6 * seconds:
        # One short run: a step takes many times as long
        loop = _run(bench, bench.source(), "fp32", 2)
        yield f"training, {words}, fp32", _figure([loop.rate], "rows/s")
        yield "bf16 / fp32", _figure([combined / loop.rate], "ratio")


def vit_bench(work: Path, size: Size) -> Bench:
    return Bench.on_pictures(
        work / "large",
        num_rows=size.num_rows,
        preset="base",
        settings=size.all_settings(),
        encoder="image-transformer",
        side=size.side,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a network and pictures so small that a processor will do")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each timed training")
    parser.add_argument("--seconds-budget", type=float, default=220.0, help="after which nothing new is begun")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead of measuring")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    asked = parser.parse_args()
    if asked.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no graphics card; --device cpu --tiny tries the script on the processor")
    began, load, state = time.monotonic(), os.getloadavg(), source_tree()
    size = TINY if asked.tiny else VIT_B
    results: dict[str, Any] = {}
    machine = hardware()
    if asked.device == "cuda":
        machine["accelerator_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    with tempfile.TemporaryDirectory() as folder:
        if asked.profile:
            profile(vit_bench(Path(folder), size), "bf16", cuda=asked.device == "cuda")
            return 0

        def left() -> float:
            return float(asked.seconds_budget - (time.monotonic() - began))

        parts = measured(Path(folder), size, asked.device, repeats=asked.repeats, seconds=asked.seconds, left=left)
        for name, item in parts:
            results[name] = item
            print(f"{time.monotonic() - began:5.0f} s  {name}: {item['value']:.4g} {item['unit']}", flush=True)
            details = {key: value for key, value in item.items() if key not in ("value", "unit", "products")}
            print(f"         {details}", flush=True)
            write_json(asked.out, {**state, "load": list(load), "hardware": machine, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
