"""The training loop: each step in the open, resumable at any of them, the same to the bit on a processor."""

from __future__ import annotations

import hashlib
import math
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnifuse.errors import ArtefactError, OmnifuseError
from omnifuse.model import MultimodalModel
from omnifuse.presets import TrainingSpec
from omnifuse.tokens import Batch
from omnifuse.training.balancing import make_balancing
from omnifuse.training.batches import BatchSource, useful_tokens
from omnifuse.training.checkpoint import Checkpoint, CheckpointFolder, pack_state, unpack_state
from omnifuse.training.lanes import Halt, Halted, give_generator
from omnifuse.training.loggers import Logger, NoLogger
from omnifuse.training.mixing import cut_pictures, mix_soft_targets, mix_tokens, mixup_pairs
from omnifuse.training.optimiser import WeightAverage, make_optimiser, rate_factor
from omnifuse.training.precision import make_fabric

Report = Callable[[dict[str, Any]], None]
Judge = Callable[[MultimodalModel], float]
TIMED_STEPS = 6
CHECKPOINT_S = 30.0
MAX_BAD_STEPS = 20
NUM_JUDGEMENTS = 20
PATIENCE = 8
# Part of the time limit that is planned for steps; the rest covers slower minutes and checkpoints
USABLE = 0.93
# The plan is made anew after this share of the steps left, so often: a machine is not equally fast all the time
REPLAN_SHARE, REPLANS = 0.3, 8
# A loss so many times the median of the last ones is flagged; a usual loss below the floor counts as the floor
SPIKE, SPIKE_WINDOW, SPIKE_FLOOR, LEAST_HISTORY = 100.0, 50, 1e-3, 10


@dataclass
class TrainingResult:
    """How a training went.

    Attributes:
        losses: Loss of each step.
        scores: (step, score) on the stopping rows, higher is better.
        steps: Steps planned.
        epochs: Passes over the rows, a fraction where the plan ends within one.
        seconds: Wall time of this run.
        samples_per_s: Rows a second, loader and all.
        wait_share: Share of the time spent waiting for data.
        bad_steps: Steps that were left out since loss or gradient was not finite.
        spikes: (step, loss, usual loss) where a loss was 100 times the usual one or more.
        precision: "fp32" or "bf16".
        weights: (step, target to the weight of its loss), where losses are balanced.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    samples_per_s: float = 0.0
    wait_share: float = 0.0
    bad_steps: int = 0
    spikes: list[tuple[int, float, float]] = field(default_factory=list)
    precision: str = "fp32"
    weights: list[tuple[int, dict[str, float]]] = field(default_factory=list)


def spike_words(step: int, loss: float, usual: float) -> str:
    """A spike of the loss in words.

    Example:
        >>> spike_words(7, 250.0, 0.5)
        'the loss at step 7 was 250, 500 times the usual 0.5'
    """
    return f"the loss at step {step} was {loss:.3g}, {loss / max(usual, 1e-12):.3g} times the usual {usual:.3g}"


class Trainer:
    """Trains one model.

    Args:
        model: Trained in place; ends with the averaged weights of its best (or last) moment.
        source: Batches.
        spec: Rates, regularisation, passes.
        seed: Of dropout and mixup; `source` has its own.
        place: Where checkpoints lie, or None for none.
        logger: Takes curves.
        report: Hears of each step.
        judge: Score of the model on rows held out for stopping, or None.
        precision: "fp32" or "bf16"; a resumed training keeps its own.
        halt: Once set, training ends with `Halted` after the step, with a checkpoint where that is asked for.
    """

    def __init__(
        self,
        model: MultimodalModel,
        source: BatchSource,
        spec: TrainingSpec,
        *,
        seed: int,
        place: CheckpointFolder | None = None,
        logger: Logger | None = None,
        report: Report | None = None,
        judge: Judge | None = None,
        precision: str = "fp32",
        halt: Halt | None = None,
    ) -> None:
        self.model, self.source, self.spec, self.seed = model, source, spec, seed
        self.place, self.logger, self.judge = place, logger or NoLogger(), judge
        self.report: Report = report or (lambda data: None)
        self.halt = halt or Halt()
        self.result = TrainingResult(precision=precision)
        self.balancing = make_balancing(spec.balancing, model.targets)
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.best_step = 0
        self.remark: str | None = None

    def run(self, *, seconds: float | None = None, epochs: int | None = None, resume: bool = False) -> TrainingResult:
        """Train.

        Args:
            seconds: Upper limit; after some timed steps it becomes a number of steps, which is corrected a few times.
            epochs: Passes instead of the specification's.
            resume: Go on from the newest whole checkpoint.

        Returns:
            How it went.

        Raises:
            OmnifuseError: Loss or gradient were not finite in 20 steps.
            ArtefactError: The checkpoint to go on from belongs to another run.
        """
        began = time.monotonic()
        longest = (epochs or self.spec.epochs) * self.source.steps_per_epoch
        planned = longest if seconds is None or epochs is not None else None
        optimiser = make_optimiser(
            self.model,
            learning_rate=self.spec.learning_rate,
            weight_decay=self.spec.weight_decay,
            name=self.spec.optimiser,
        )
        average = WeightAverage(self.model, share=self.spec.averaging, steps=longest)
        step = 0
        saved = self._saved(resume)
        if saved is not None:
            unpack_state(self._take_best(saved), self.model, optimiser, average)
            step, planned = int(saved.facts["step"]), int(saved.facts["steps"])
            average = self._averaged_over(average, planned)
            self._recall(saved.facts)
        fabric = make_fabric(self.result.precision)
        self.model.to(fabric.device)
        self.generator = torch.Generator(fabric.device)
        give_generator(self.model, self.generator)
        wrapped_optimiser = fabric.setup_optimizers(optimiser)
        self.model.train()
        last_save = time.monotonic()
        start, replans = step, REPLANS if planned is None else 0
        stop = planned if planned is not None else min(TIMED_STEPS, longest)
        while True:
            part, part_began = step, time.monotonic()
            for batch in self.source.steps(step, stop):
                self._step(fabric, wrapped_optimiser, batch, step, planned or longest)
                average.update(self.model, step)
                step += 1
                if self.halt.is_set():
                    if self.halt.save and planned is not None:
                        self._save(optimiser, average, step, planned)
                    raise Halted
                self._tell(step, planned or longest, time.monotonic() - began, start)
                if step == part + 1 == 1:  # The first step of all allocates and compiles: not to be counted
                    part, part_began = step, time.monotonic()
                if planned is not None and self._judged(average, step, planned):
                    stop = planned = step
                    break
                if planned is not None and time.monotonic() - last_save > CHECKPOINT_S:
                    self._save(optimiser, average, step, planned)
                    last_save = time.monotonic()
            if step == planned or (planned is not None and not replans):
                break
            assert seconds is not None
            a_step = (time.monotonic() - part_began) / max(step - part, 1)
            left = seconds * USABLE - (time.monotonic() - began)
            planned = min(longest, step + max(int(left / max(a_step, 1e-6)), 1))
            replans -= 1
            stop = step + math.ceil((planned - step) * REPLAN_SHARE) if replans else planned
            average = self._averaged_over(average, planned)
        if step > start:
            self._save(optimiser, average, step, planned)
        self._finish(average, planned)
        return self._summed(time.monotonic() - began, step, start)

    def _saved(self, resume: bool) -> Checkpoint | None:
        """The checkpoint to go on from; without `resume` older ones are forgotten.

        Raises:
            ArtefactError: It learnt from other rows or with another seed.
        """
        if self.place is None:
            return None
        if not resume:
            self.place.clear()
            return None
        saved = self.place.load()
        if saved is not None and saved.facts["identity"] != self._identity():
            raise ArtefactError(
                "the checkpoint belongs to another table, seed, batch size, optimiser or sampling",
                where=f"folder {self.place.folder.name}",
                fix="Resume with the same table and options, or fit anew without --resume",
            )
        return saved

    def _identity(self) -> str:
        """What must be equal for a run to be the same: rows and how they are drawn, batch size, seeds, optimiser."""
        digest = hashlib.sha256(np.ascontiguousarray(self.source.rows, dtype=np.int64).tobytes())
        digest.update(repr((self.seed, self.source.seed, self.source.batch_size)).encode())
        if self.spec.optimiser != "adamw":
            digest.update(self.spec.optimiser.encode())
        if self.source.weights is not None:
            digest.update(np.ascontiguousarray(self.source.weights, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def _averaged_over(self, average: WeightAverage, steps: int) -> WeightAverage:
        """The same running mean with the decay that fits the plan."""
        changed = WeightAverage(self.model, share=self.spec.averaging, steps=steps)
        changed.load(average.state())
        return changed

    def _step(self, fabric: Any, optimiser: Any, batch: Batch, step: int, steps: int) -> None:
        """Forward, backward, clip, update; a step whose loss or gradient is not finite is left out and counted."""
        # Dropout and mixup depend on seed and step alone, so a resumed run draws what an uninterrupted one draws
        seed = (self.seed * 1_000_003 + step) % 2**62
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)
        for group in optimiser.param_groups:
            group["lr"] = self.spec.learning_rate * rate_factor(step, steps, self.spec.warm_up)
        batch = batch.to(fabric.device)
        # Not through Fabric's wrapper: it walks through every output, frozen dataclasses among them, at each step
        with fabric.autocast():
            output = self.model(*self._mixed(batch, step))
        balanced = self.balancing.loss(output)
        fabric.backward(balanced * self.source.share(batch))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip)
        loss = float(output.loss.detach())
        if math.isfinite(loss) and bool(torch.isfinite(norm)):
            self._watch(loss, step, batch)
            optimiser.step()
            self.balancing.learn()
            self.result.losses.append(loss)
        else:
            self.result.bad_steps += 1
            self.result.losses.append(self.result.losses[-1] if self.result.losses else 0.0)
            if self.result.bad_steps > MAX_BAD_STEPS:
                raise OmnifuseError(
                    f"loss or gradient were not finite in {self.result.bad_steps} steps",
                    where=f"last at step {step}, rows {batch.rows.tolist()[:8]}",
                    fix="Lower the rate with --set learning_rate=0.0005, and look at these rows for wild numbers",
                )
        optimiser.zero_grad(set_to_none=True)
        if step % 10 == 0:
            weights = self.balancing.weights
            if weights:
                self.result.weights.append((step, weights))
            parts = {f"loss/{name}": float(value.detach()) for name, value in output.parts.items()}
            parts |= {f"weight/{name}": value for name, value in weights.items()}
            useful, computed = useful_tokens(batch)
            parts |= {"useful_tokens": useful / computed} if computed else {}
            self.logger.log({"loss": loss, "rate": optimiser.param_groups[0]["lr"], "norm": float(norm), **parts}, step)

    def _watch(self, loss: float, step: int, batch: Batch) -> None:
        """Flag a loss that is many times the usual one: in the curves, in the progress, in the result."""
        recent = self.result.losses[-SPIKE_WINDOW:]
        if len(recent) < LEAST_HISTORY:
            return
        usual = statistics.median(recent)
        if loss >= SPIKE * max(usual, SPIKE_FLOOR):
            self.result.spikes.append((step, loss, usual))
            self.remark = f"{spike_words(step, loss, usual)} (rows {batch.rows.tolist()[:8]})"
            self.logger.log({"spike": loss / max(usual, SPIKE_FLOOR)}, step)

    def _mixed(self, batch: Batch, step: int) -> tuple[Any, ...]:
        """The batch, and for mixup and cutmix what to do with its tokens."""
        if max(self.spec.mixup, self.spec.cutmix) <= 0 or batch.size < 2:
            return (batch,)
        draw = np.random.default_rng([self.seed, step, 11])
        partner, weight = mixup_pairs(draw, batch.size, self.spec.mixup)
        whole: set[str] = set()
        if self.spec.cutmix and draw.random() < self.spec.cutmix:
            batch, weight, whole = cut_pictures(batch, partner, draw)
        elif not self.spec.mixup:
            return (batch,)
        soft = {}
        for name, task in zip(self.model.targets, self.model.tasks, strict=True):
            if name not in batch.targets:
                continue
            target = batch.targets[name]
            if task.kind.chooses_class:  # type: ignore[union-attr]
                shares, known = task.soft_target(target)  # type: ignore[operator]
                mixed = mix_soft_targets(shares, partner, weight)
                # A row without a label must not lend half of one
                soft[name] = mixed * (known & known[partner]).unsqueeze(1)
            else:
                soft[name] = mix_soft_targets(target.reshape(len(target), -1), partner, weight).reshape(target.shape)
        mixed_batch = Batch(batch.fields, batch.targets, batch.weights, batch.rows, soft)
        return mixed_batch, lambda tokens: mix_tokens(tokens, partner, weight, whole=whole)

    def _judged(self, average: WeightAverage, step: int, steps: int) -> bool:
        """Score the averaged weights now and then; True where patience ends."""
        every = max(1, steps // NUM_JUDGEMENTS)
        if self.judge is None or (step % every and step != steps):
            return False
        current = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        average.copy_to(self.model)
        self.model.eval()
        score = self.judge(self.model)
        if self.best is None or score >= self.best[0]:
            self.best = (score, {name: value.detach().clone() for name, value in self.model.state_dict().items()})
            self.best_step = step
        self.model.load_state_dict(current)
        self.model.train()
        self.result.scores.append((step, score))
        self.logger.log({"score": score}, step)
        return step - self.best_step >= PATIENCE * every

    def _tell(self, step: int, steps: int, elapsed: float, start: int) -> None:
        done = step - start
        recent = self.result.losses[-50:]
        self.report(
            {
                "step": step,
                "steps": steps,
                "epoch": (step - 1) // self.source.steps_per_epoch,
                "fraction": step / steps,
                "loss": sum(recent) / len(recent),
                "score": self.result.scores[-1][1] if self.result.scores else None,
                "samples_per_s": done * len(self.source.rows) / self.source.steps_per_epoch / max(elapsed, 1e-9),
                "wait_share": self.source.waited / max(elapsed, 1e-9),
                "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "done": step == steps,
                "remark": self.remark,
            }
        )
        self.remark = None

    def _save(self, optimiser: torch.optim.Optimizer, average: WeightAverage, step: int, steps: int) -> None:
        if self.place is None:
            return
        tensors = pack_state(self.model, optimiser, average)
        facts: dict[str, Any] = {
            "step": step,
            "steps": steps,
            "identity": self._identity(),
            "losses": self.result.losses,
            "scores": self.result.scores,
            "bad_steps": self.result.bad_steps,
            "spikes": self.result.spikes,
            "precision": self.result.precision,
            "balancing": self.balancing.state(),
            "weights": self.result.weights,
        }
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best[1].items()}
            facts |= {"best": self.best[0], "best_step": self.best_step}
        self.place.save(Checkpoint(tensors, facts))

    def _take_best(self, saved: Checkpoint) -> dict[str, Tensor]:
        """Take the best weights out of a checkpoint's tensors; the others are given back."""
        best = {name.removeprefix("best/"): value for name, value in saved.tensors.items() if name.startswith("best/")}
        if best:
            self.best, self.best_step = (float(saved.facts["best"]), best), int(saved.facts["best_step"])
        return {name: value for name, value in saved.tensors.items() if not name.startswith("best/")}

    def _recall(self, facts: dict[str, Any]) -> None:
        self.result.losses = [float(value) for value in facts["losses"]]
        self.result.scores = [(int(step), float(score)) for step, score in facts["scores"]]
        self.result.bad_steps = int(facts["bad_steps"])
        self.result.spikes = [(int(step), float(loss), float(usual)) for step, loss, usual in facts.get("spikes", ())]
        self.result.precision = str(facts["precision"])
        self.balancing.load(facts["balancing"])
        self.result.weights = [(int(step), dict(weights)) for step, weights in facts["weights"]]

    def _finish(self, average: WeightAverage, steps: int) -> None:
        """Put the averaged (best) weights into the model."""
        give_generator(self.model, None)
        self.result.steps = steps
        if self.best is not None:
            self.model.load_state_dict(self.best[1])
        elif self.spec.averaging > 0:
            average.copy_to(self.model)
        self.model.eval()

    def _summed(self, seconds: float, step: int, start: int) -> TrainingResult:
        rows = (step - start) * len(self.source.rows) / self.source.steps_per_epoch
        self.result.epochs = step / self.source.steps_per_epoch
        self.result.seconds = seconds
        self.result.samples_per_s = rows / max(seconds, 1e-9)
        self.result.wait_share = self.source.waited / max(seconds, 1e-9)
        return self.result
