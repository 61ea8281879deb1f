"""The steps of compression, each tried on the same rows and kept only where it pays and does no harm.

A step pays where a row takes 5% less time or the graphs are 5% smaller, and the other of both is not 5% worse. Under a
budget of size only the size counts, under one of time only the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from omnifuse.api.compress_judge import Judge, Judgement, member_order
from omnifuse.deploy.fewer_members import keep_members
from omnifuse.deploy.graph_set import GraphSet
from omnifuse.deploy.prune import prune_channels
from omnifuse.deploy.prune_heads import prune_heads
from omnifuse.deploy.quantise import noisiest_layers, quantise_dynamic, quantise_static
from omnifuse.deploy.trial import Feed, Trial

Goal = Literal["both", "time", "size", "score"]
GAIN = 0.05
INT8, FP32 = "int8", "fp32"
# Where int8 does harm, so many of the dense layers stay in fp32, the noisiest first
KEPT_SHARES = (0.1, 0.3)
Prune = Callable[[bytes, Sequence[Mapping[str, Any]], float], tuple[bytes, int]]


@dataclass(frozen=True)
class GraphChoice:
    """What became of one graph in a step.

    Attributes:
        file: Its name.
        form: "dynamic" or "static" int8, or "fp32" where it stayed as it was.
        size_bytes: Before and after.
        ms: Of one row, before and after; None where no row was there to time it with.
        why: The reason.
    """

    file: str
    form: str
    size_bytes: tuple[int, int]
    ms: tuple[float, float] | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("file", "form", "size_bytes", "ms", "why")
        return {name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in names}


@dataclass(frozen=True)
class Step:
    """One step as it was measured.

    Attributes:
        name: What was done.
        size_bytes: Of all graphs after it.
        row_ms: Median of one row after it.
        judgement: How the graphs answer after it.
        kept: Whether the next step starts from it.
        why: The reason.
        graphs: What became of each graph, where a step chooses graph by graph.
    """

    name: str
    size_bytes: int
    row_ms: float
    judgement: Judgement
    kept: bool
    why: str
    graphs: tuple[GraphChoice, ...] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "step": self.name,
            "size_bytes": self.size_bytes,
            "row_ms": self.row_ms,
            "agreement": self.judgement.agreement,
            "agreement_whole_rows": self.judgement.whole,
            "scores": {name: item.to_json() for name, item in self.judgement.scores.items()},
            "kept": self.kept,
            "why": self.why,
            "graphs": [item.to_json() for item in self.graphs],
        }


class Compressor:
    """Graphs that become smaller step by step.

    Args:
        trial: The rows.
        judge: Of the answers.
        graphs: As exported.
        goal: What a step has to better.
        most_loss: Share of the score that may be lost, all steps together.
        limits: Metric to such a share where it is another one.

    Attributes:
        graphs: As they are after the steps so far.
        steps: What was tried, the exported graphs first.
    """

    def __init__(
        self,
        trial: Trial,
        judge: Judge,
        graphs: GraphSet,
        *,
        goal: Goal,
        most_loss: float,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.trial, self.judge, self.goal = trial, judge, goal
        self.most_loss, self.limits = most_loss, dict(limits or {})
        self.graphs = graphs
        row_ms = trial.row_ms({"now": graphs})["now"]
        self.steps = [Step("as exported", graphs.size_bytes, row_ms, judge(judge.reference), True, "")]

    @property
    def now(self) -> Step:
        """The last step that was kept."""
        return next(step for step in reversed(self.steps) if step.kept)

    def student(self, name: str, trial: Trial, judge: Judge, graphs: GraphSet) -> bool:
        """Go on with another model's graphs where they pay; says whether they do.

        Args:
            name: Of the step.
            trial: The same rows, as that model reads them.
            judge: Of its answers, by those of the graphs as exported.
            graphs: That may take the place of those so far.
        """
        judged = judge(judge.reference)
        harm = judged.harm(self.most_loss, self.limits)
        if not self._add(name, graphs, judged, harm, trial=trial):
            return False
        self.trial, self.judge = trial, judge
        return True

    def fewer_members(self, counts: list[int], *, enough: Callable[[GraphSet], bool] | None = None) -> None:
        """Keep so few members as do no harm.

        Args:
            counts: Numbers of members to try, falling; the last before one that does harm is taken.
            enough: Says of harmless graphs whether fewer need not be tried.
        """
        order = member_order(self.judge.readouts, self.judge.reference)

        def name(kept: list[int]) -> str:
            return f"{len(kept)} of {len(order)} members ({', '.join(str(number) for number in kept)})"

        whole, best = self.graphs, None
        for count in counts:
            kept = sorted(order[:count])
            judged = self.judge({subset: raw.members(kept) for subset, raw in self.judge.reference.items()})
            harm = judged.harm(self.most_loss, self.limits)
            if not harm:
                best = (kept, judged)
                if enough is None or not enough(keep_members(whole, kept)):
                    continue
            if best is not None:
                self._add(name(best[0]), keep_members(whole, best[0]), best[1], "")
            if harm:
                self._add(name(kept), keep_members(whole, kept), judged, harm)
            return
        if best is not None:
            self._add(name(best[0]), keep_members(whole, best[0]), best[1], "")

    def prune(self, share: float) -> bool:
        """Take a share of the hidden channels, then of the heads, out of every graph; says whether either was kept."""
        channels = self._prune(share, prune_channels, "channels")
        heads = self._prune(share, prune_heads, "heads")
        return channels or heads

    def _prune(self, share: float, prune: Prune, what: str) -> bool:
        before = self.graphs
        feeds = self.trial.feeds(before)
        contents, removed = dict(before.contents), 0
        for file, content in before.contents.items():
            pruned, count = prune(content, feeds[file], share)
            if count and self.trial.runs(pruned, feeds[file][0]):
                contents[file], removed = pruned, removed + count
        name = f"pruned by {share:.0%} ({removed} {what})"
        if not removed:
            self.steps.append(replace(self.now, name=name, kept=False, why=f"no {what} to prune", graphs=()))
            return False
        graphs = GraphSet(before.signature, contents)
        judged = self.judge(self.trial.answers(graphs))
        return self._add(name, graphs, judged, judged.harm(self.most_loss, self.limits))

    def int8(self) -> None:
        """Quantise each graph where that pays and does no harm."""
        before = self.graphs
        feeds, row_feeds = self.trial.feeds(before), self.trial.row_feeds(before)
        current, choices = before, []
        # The agreement that int8 owes is with the very graphs that it is made of; the score lost counts all steps
        owed = Judge(self.judge.readouts, self.judge.fields, self.trial.answers(before), {})
        # The largest first: where the answers bear only so much, it is spent on what gains most
        for file in sorted(before.contents, key=lambda name: -len(before.contents[name])):
            current, choice = self._int8_graph(current, file, owed, (feeds[file], row_feeds[file]))
            choices.append(choice)
        judged = self.judge(self.trial.answers(current))
        if current is before:
            harm = "no graph gains by it"
        else:
            harm = ""
            current = replace(current, signature=replace(current.signature, precision=INT8))
        self._add("int8", current, judged, harm, tuple(choices), paid=True)

    def _int8_graph(
        self, graphs: GraphSet, file: str, owed: Judge, fed: tuple[list[Feed], list[Feed]]
    ) -> tuple[GraphSet, GraphChoice]:
        feeds, row_feeds = fed
        content = graphs.contents[file]
        stays = GraphChoice(file, FP32, (len(content), len(content)), None, "")
        if not row_feeds:
            return graphs, _because(stays, "no row has the field")
        made = {name: found for name, found in _quantised(content, feeds) if found is not None}
        failed = [name for name, found in made.items() if not self.trial.runs(found, row_feeds[0])]
        why = [f"{name}: the runtime cannot run it" for name in failed]
        made = {name: found for name, found in made.items() if name not in failed}
        if failed and not made:
            return graphs, _because(stays, "; ".join(why))
        if not made:
            return graphs, _because(stays, "nothing in it can be quantised")
        ms = self.trial.graph_ms({FP32: content, **made}, row_feeds)
        for form in sorted(made, key=lambda name: len(made[name]) if self.goal == "size" else ms[name]):
            choice = GraphChoice(file, form, (len(content), len(made[form])), (ms[FP32], ms[form]), "")
            candidate, choice = self._quantised_graph(graphs, choice, made[form], owed)
            if candidate is None and choice.form != FP32:
                candidate, choice = self._partly_quantised(graphs, choice, owed, fed)
            if candidate is not None:
                return candidate, choice
            why.append(f"{form}: {choice.why}")
        return graphs, _because(replace(stays, ms=(ms[FP32], ms[FP32])), "; ".join(why))

    def _quantised_graph(
        self, graphs: GraphSet, choice: GraphChoice, content: bytes, owed: Judge
    ) -> tuple[GraphSet | None, GraphChoice]:
        """The graphs with one of them quantised, None where that does harm; or, in form fp32, where it does not pay."""
        assert choice.ms is not None
        reason = self._gain(*choice.size_bytes, *choice.ms)
        if reason:
            return None, replace(choice, form=FP32, why=reason)
        candidate = graphs.with_graph(choice.file, content)
        answers = self.trial.answers(candidate)
        reason = owed(answers).harm(self.most_loss, self.limits) or self.judge(answers).harm(
            self.most_loss, self.limits
        )
        return (None, _because(choice, reason)) if reason else (candidate, _because(choice, _gained(choice)))

    def _partly_quantised(
        self, graphs: GraphSet, choice: GraphChoice, owed: Judge, fed: tuple[list[Feed], list[Feed]]
    ) -> tuple[GraphSet | None, GraphChoice]:
        """The same with the layers that suffer most left as they are, as few as do."""
        content, (feeds, row_feeds) = graphs.contents[choice.file], fed
        layers = noisiest_layers(content, feeds)
        for count in sorted({math.ceil(share * len(layers)) for share in KEPT_SHARES if len(layers) > 1}):
            found = _quantised(content, feeds, layers[:count])
            made = next((item for name, item in found if name == choice.form), None)
            if made is None or not self.trial.runs(made, row_feeds[0]):
                break
            ms = self.trial.graph_ms({FP32: content, choice.form: made}, row_feeds)
            tried = replace(choice, size_bytes=(len(content), len(made)), ms=(ms[FP32], ms[choice.form]))
            candidate, tried = self._quantised_graph(graphs, tried, made, owed)
            if candidate is not None:
                return candidate, _because(tried, f"{tried.why}; {count} of {len(layers)} layers stay in fp32")
        return None, choice

    def _gain(self, size: int, smaller: int, ms: float, faster: float) -> str:
        """Why a change does not pay, "" where it does."""
        less, quicker = 1 - smaller / size, 1 - faster / ms
        if self.goal == "size":
            return "" if less >= GAIN else f"not smaller ({smaller / 1e6:.2f} MB)"
        if self.goal == "time":
            return "" if quicker >= GAIN else f"not faster ({faster:.2f} ms)"
        if quicker < -GAIN:
            return f"slower ({faster:.2f} ms instead of {ms:.2f})"
        if less < -GAIN:
            return f"larger ({smaller / 1e6:.2f} MB instead of {size / 1e6:.2f})"
        return "" if max(less, quicker) >= GAIN else "neither smaller nor faster by 5%"

    def _add(
        self,
        name: str,
        graphs: GraphSet,
        judged: Judgement,
        harm: str,
        choices: tuple[GraphChoice, ...] = (),
        *,
        paid: bool = False,
        trial: Trial | None = None,
    ) -> bool:
        """Measure a step, keep it where nothing speaks against it; of another model, with its own rows in `trial`."""
        beside = {"after": (trial or self.trial, graphs)}
        ms = self.trial.row_ms({"before": self.graphs}, beside=beside)
        before = self.graphs.size_bytes
        why = harm or ("" if paid else self._gain(before, graphs.size_bytes, ms["before"], ms["after"]))
        kept = not why
        if kept:
            why = f"{before / graphs.size_bytes:.2f} times smaller, {ms['before'] / ms['after']:.2f} times as fast"
            self.graphs = graphs
        self.steps.append(Step(name, graphs.size_bytes, ms["after"], judged, kept, why, choices))
        return kept


def _quantised(content: bytes, feeds: list[Feed], keep: Collection[str] = ()) -> Iterator[tuple[str, bytes | None]]:
    yield "dynamic", quantise_dynamic(content, keep=keep)
    yield "static", quantise_static(content, feeds, keep=keep)


def _because(choice: GraphChoice, why: str) -> GraphChoice:
    return replace(choice, why=why)


def _gained(choice: GraphChoice) -> str:
    assert choice.ms is not None
    (large, small), (slow, quick) = choice.size_bytes, choice.ms
    return f"{large / small:.2f} times smaller, {slow / quick:.2f} times as fast"
