"""Int8 beside fp32 and pruned heads beside whole ones, in one process, taking turns; writes results/compress.json.

    python benchmarks/compress.py [--dim 768] [--depth 12] [--tokens 128] [--rows 1 8] [--seconds 20] [--threads N]

The graph is that of the library's own text encoder at the size of a base transformer. Its weights are drawn, not
learnt: what is measured is time and size, and how far the tokens move. What compression does to the answers of a model
that was fitted is measured by `omnifuse compress` on the model's own rows.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run import RESULTS, hardware, write_json  # noqa: E402
from benchmarks.score import source_tree  # noqa: E402

# Dimensions of a head of a base transformer
HEAD_DIM = 64
CALIBRATION_ROWS = 16
WORDS = ("north", "red", "blue", "house", "river", "gate", "storm", "quiet", "seven", "slow", "engine", "valve")
FEWER_HEADS = 0.5


def base_encoder(dim: int, depth: int, tokens: int) -> tuple[bytes, list[dict[str, np.ndarray]]]:
    """Graph of a text encoder, and rows of ids as it takes them."""
    import torch

    from omnifuse.building import build_from_spec
    from omnifuse.data.text import TextPreprocessor
    from omnifuse.deploy.export import export_field
    from omnifuse.explain.probe import packed
    from omnifuse.presets import ModelSpec
    from omnifuse.schema import Field, Modality, Schema, Target, TaskKind

    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, 2 * tokens)) for _ in range(CALIBRATION_ROWS)]
    preprocessor = TextPreprocessor.fit(texts, max_length=tokens, vocab_size=300)
    schema = Schema((Field("note", Modality.TEXT),), (Target("kind", TaskKind.CLASSIFICATION, ("a", "b")),))
    torch.manual_seed(0)
    spec = ModelSpec(dim=dim, num_heads=max(1, dim // HEAD_DIM), encoder_depth=depth, fusion_depth=0, shallow="none")
    model = build_from_spec(schema, {"note": preprocessor}, spec).eval()
    rows = [preprocessor(text) for text in texts]
    _, content = export_field([model], "note", "encoder_note.onnx", Modality.TEXT, packed(rows, rows[0]))
    return content, [{name: values[None] for name, values in row.items()} for row in rows]


def stacked(feeds: list[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """So many rows at once."""
    return {name: np.concatenate([feeds[n % len(feeds)][name] for n in range(count)]) for name in feeds[0]}


def forms_of(content: bytes, feeds: list[dict[str, np.ndarray]]) -> dict[str, bytes]:
    """The graph as it is and each way of making it smaller."""
    from omnifuse.deploy.prune_heads import prune_heads
    from omnifuse.deploy.quantise import quantise_dynamic, quantise_static

    made = {"fp32": content, "int8 dynamic": quantise_dynamic(content), "int8 static": quantise_static(content, feeds)}
    made[f"{FEWER_HEADS:.0%} of the heads"] = prune_heads(content, feeds, FEWER_HEADS)[0]
    return {name: found for name, found in made.items() if found is not None}


def measured(
    forms: dict[str, bytes], feeds: list[dict[str, np.ndarray]], rows: list[int], *, seconds: float, threads: int | None
) -> dict[str, Any]:
    """Size, milliseconds and times as fast as fp32 of each form, and how far its tokens lie from those of fp32."""
    from omnifuse.deploy.graph_runner import open_graph
    from omnifuse.deploy.trial import median_ms

    sessions = {name: open_graph(content, threads) for name, content in forms.items()}
    wanted = sessions["fp32"].run(None, feeds[0])[0]
    found: dict[str, Any] = {
        name: {
            "bytes": len(forms[name]),
            "relative_error": float(np.linalg.norm(session.run(None, feeds[0])[0] - wanted) / np.linalg.norm(wanted)),
            "ms": {},
            "times_as_fast": {},
        }
        for name, session in sessions.items()
    }
    for count in rows:
        feed = stacked(feeds, count)
        ms = median_ms(
            {name: [calling(session, feed)] for name, session in sessions.items()}, seconds=seconds, fewest=5
        )
        for name, value in ms.items():
            found[name]["ms"][str(count)] = value
            found[name]["times_as_fast"][str(count)] = ms["fp32"] / value
    return found


def calling(session: Any, feed: dict[str, np.ndarray]) -> Callable[[], None]:
    return lambda: session.run(None, feed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8], help="rows that go through at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of rows")
    parser.add_argument("--threads", type=int, help="of each graph; all cores by default")
    parser.add_argument("--out", type=Path, default=RESULTS / "compress.json")
    chosen = parser.parse_args()
    load = os.getloadavg()
    content, feeds = base_encoder(chosen.dim, chosen.depth, chosen.tokens)
    found = measured(forms_of(content, feeds), feeds, chosen.rows, seconds=chosen.seconds, threads=chosen.threads)
    size = {"dim": chosen.dim, "depth": chosen.depth, "tokens": chosen.tokens, "threads": chosen.threads}
    write_json(chosen.out, {**source_tree(), "hardware": hardware(), "load": load, **size, "forms": found})
    for name, item in found.items():
        times = ", ".join(
            f"{count} rows {item['ms'][count]:.1f} ms ({item['times_as_fast'][count]:.2f} times as fast)"
            for count in item["ms"]
        )
        print(f"{name}: {item['bytes'] / 1e6:.1f} MB, {times}, tokens off by {item['relative_error']:.2%}")


if __name__ == "__main__":
    main()
