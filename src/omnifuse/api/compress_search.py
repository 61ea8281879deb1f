"""Steps of compression until a budget is met, in the order of what they are expected to gain for what they cost.

Leaving members out gains most and needs no other weights, int8 comes next, pruning last. Pruned channels are taken out
of graphs in fp32, so int8 is done anew after it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from omnifuse.api.compress_budget import Budget
from omnifuse.api.compress_steps import Compressor
from omnifuse.deploy.graph_set import GraphSet
from omnifuse.errors import InputError

# Of the channels and heads that are left, so many go at a time, and so often at most
PRUNED_AT_ONCE, MOST_PRUNINGS = 0.25, 5


def search(
    compressor: Compressor,
    budget: Budget,
    allowed: Collection[str],
    *,
    fewest: int = 1,
    share: float = PRUNED_AT_ONCE,
) -> None:
    """Compress until the budget is met.

    Args:
        compressor: Of the graphs as exported; it never loses more of the score than it was told.
        budget: What to keep to. A budget of the score lets every step go as far as it does no harm.
        allowed: Of "members", "int8" and "prune".
        fewest: So many members stay at least.
        share: Of the channels and heads that are left, so much goes at a time.

    Raises:
        InputError: It cannot be met; names the nearest that was reached.
    """
    if budget.kind == "score":
        _as_far_as_harmless(compressor, allowed, fewest, share)
        return
    if _met(compressor, budget):
        return
    if "members" in allowed:
        compressor.fewer_members(_counts(compressor, fewest), enough=lambda graphs: _enough(compressor, budget, graphs))
    if not _met(compressor, budget):
        _int8_and_pruned(compressor, budget, allowed, share)
    if not _met(compressor, budget):
        now = compressor.now
        done = [step.name for step in compressor.steps[1:] if step.kept]
        raise InputError(
            f"the budget of {budget.words} cannot be met while losing at most {compressor.most_loss:.2%} of the score",
            where=f"the nearest is {budget.reached(size_bytes=now.size_bytes, row_ms=now.row_ms)} by "
            f"{'; '.join(done) or 'nothing'}",
            fix="Give a larger --budget or a larger --loss; nothing was written",
        )


def _counts(compressor: Compressor, fewest: int) -> list[int]:
    """Numbers of members to try."""
    return list(range(compressor.graphs.signature.num_members - 1, fewest - 1, -1))


def _as_far_as_harmless(compressor: Compressor, allowed: Collection[str], fewest: int, share: float) -> None:
    if "members" in allowed:
        compressor.fewer_members(_counts(compressor, fewest))
    if "prune" in allowed:
        for _ in range(MOST_PRUNINGS):
            if not compressor.prune(share):
                break
    if "int8" in allowed:
        compressor.int8()


def _int8_and_pruned(compressor: Compressor, budget: Budget, allowed: Collection[str], share: float) -> None:
    """Int8, then pruned a little more each time and int8 again, until it is enough."""
    for number in range(MOST_PRUNINGS + 1):
        before = compressor.graphs
        if "int8" in allowed:
            compressor.int8()
        last = number == MOST_PRUNINGS or "prune" not in allowed
        if _met(compressor, budget) or last:
            return
        after, steps = compressor.graphs, list(compressor.steps)
        compressor.graphs = before
        compressor.steps = [
            replace(step, kept=False, why="not enough; pruned first")
            if step is compressor.now and after is not before
            else step
            for step in compressor.steps
        ]
        if not compressor.prune(share):
            # Nothing is gained by pruning more: what was reached before stays
            compressor.graphs, compressor.steps = after, [*steps, *compressor.steps[len(steps) :]]
            return


def _met(compressor: Compressor, budget: Budget) -> bool:
    now = compressor.now
    return budget.met(size_bytes=now.size_bytes, row_ms=now.row_ms)


def _enough(compressor: Compressor, budget: Budget, graphs: GraphSet) -> bool:
    row_ms = compressor.trial.row_ms({"": graphs}, seconds=0.5)[""] if budget.kind == "time" else 0.0
    return budget.met(size_bytes=graphs.size_bytes, row_ms=row_ms)
