"""The training loop: each step in the open, resumable at any of them, the same to the bit on a processor."""

from __future__ import annotations

import hashlib
import math
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from omnifuse.errors import ArtefactError, OmnifuseError
from omnifuse.model import MultimodalModel
from omnifuse.presets import TrainingSpec
from omnifuse.tokens import Batch
from omnifuse.training.accumulation import Outline, as_part, parts_of
from omnifuse.training.balancing import make_balancing
from omnifuse.training.batches import BatchSource, useful_tokens
from omnifuse.training.checkpoint import Checkpoint, CheckpointFolder, pack_state, unpack_state
from omnifuse.training.finite import are_sound, unsound, unsound_weights
from omnifuse.training.flat import release
from omnifuse.training.lanes import Halt, Halted, give_generator, seed_torch
from omnifuse.training.loggers import Logger, NoLogger
from omnifuse.training.memory import RowsAtOnce
from omnifuse.training.mixing import mixed
from omnifuse.training.optimiser import WeightAverage, make_optimiser, rate_factor, weights_of
from omnifuse.training.precision import make_fabric
from omnifuse.training.ranks import agreed, alone_only, is_first, num_ranks, rank, start_alike, sum_over_ranks
from omnifuse.training.result import BadStep, TrainingResult, parts_words, rows_words, spike_words

Report = Callable[[dict[str, Any]], None]
Judge = Callable[[MultimodalModel], float]
TIMED_STEPS = 6
# Seconds between checkpoints; where one takes longer than the second number, proportionally more, so that saving takes
# at most a fiftieth of the time
CHECKPOINT_S, QUICK_SAVE_S = 30.0, 0.6
MAX_BAD_STEPS = 20
# Numbers of the parts of a batch that one process may have
PARTS_APART = 1_000_000
NUM_JUDGEMENTS = 20
PATIENCE = 8
# Part of the time limit that is planned for steps; the rest covers slower minutes and checkpoints
USABLE = 0.93
# The plan is made anew after this share of the steps left, so often: a machine is not equally fast all the time
REPLAN_SHARE, REPLANS = 0.3, 8
# A loss so many times the median of the last ones is flagged; a usual loss below the floor counts as the floor
SPIKE, SPIKE_WINDOW, SPIKE_FLOOR, LEAST_HISTORY = 100.0, 50, 1e-3, 10


def checkpoint_pause(save_s: float) -> float:
    """Seconds until the next checkpoint after one that took so many."""
    return CHECKPOINT_S * max(1.0, save_s / QUICK_SAVE_S)


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
        self.rows_at_once = RowsAtOnce(source.batch_size)
        self.balancing = make_balancing(spec.balancing, model.targets)
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.best_step = 0
        self.remarks: list[str] = []
        self.save_failed = False
        self._told = (False, False)

    def run(self, *, seconds: float | None = None, epochs: int | None = None, resume: bool = False) -> TrainingResult:
        """Train.

        Args:
            seconds: Upper limit; after some timed steps it becomes a number of steps, which is corrected a few times.
            epochs: Passes instead of the specification's.
            resume: Go on from the newest whole checkpoint.

        Returns:
            How it went.

        Raises:
            OmnifuseError: Loss or gradient were not finite in more than 20 steps, or a weight is not finite.
            ArtefactError: The checkpoint to go on from belongs to another run.
            MissingDependencyError: One row does not fit into the memory of the device.
        """
        began = time.monotonic()
        longest = (epochs or self.spec.epochs) * self.source.steps_per_epoch
        planned = longest if seconds is None or epochs is not None else None
        step = 0
        saved = self._saved(resume)
        if saved is not None:
            self.result.recall(saved.facts)
        fabric = make_fabric(self.result.precision)
        self.model.to(fabric.device)
        self._meet(step if saved is None else int(saved.facts["step"]))
        optimiser = make_optimiser(
            self.model,
            learning_rate=self.spec.learning_rate,
            weight_decay=self.spec.weight_decay,
            name=self.spec.optimiser,
            flat=True,
        )
        self._stepped = weights_of(optimiser)
        average = WeightAverage(self._stepped, share=self.spec.averaging, steps=longest)
        if saved is not None:
            unpack_state(self._take_best(saved), self.model, optimiser, average)
            step, planned = int(saved.facts["step"]), int(saved.facts["steps"])
            average.plan(planned)
            self.balancing.load(saved.facts["balancing"])
            self.rows_at_once.most = self.result.rows_at_once or self.rows_at_once.most
        self.generator = torch.Generator(fabric.device)
        give_generator(self.model, self.generator)
        wrapped_optimiser = fabric.setup_optimizers(optimiser)
        self.model.train()
        last_save, pause = time.monotonic(), CHECKPOINT_S
        start, replans = step, REPLANS if planned is None else 0
        stop = planned if planned is not None else min(TIMED_STEPS, longest)
        while True:
            part, part_began = step, time.monotonic()
            for batch in self.source.steps(step, stop):
                self._step(fabric, wrapped_optimiser, batch, step, planned or longest)
                average.update(step)
                step += 1
                if self._halting():
                    if self._to_save() and planned is not None:
                        self._save(optimiser, average, step, planned)
                    self._end()
                self._tell(step, planned or longest, time.monotonic() - began, start)
                if step == part + 1 == 1:  # The first step of all allocates and compiles: not to be counted
                    part, part_began = step, time.monotonic()
                if planned is not None and self._judged(average, step, planned):
                    stop = planned = step
                    break
                if planned is not None and time.monotonic() - last_save > pause:
                    save_began = time.monotonic()
                    self._save(optimiser, average, step, planned)
                    last_save = time.monotonic()
                    pause = checkpoint_pause(last_save - save_began)
            if step == planned or (planned is not None and not replans):
                break
            assert seconds is not None
            a_step = (time.monotonic() - part_began) / max(step - part, 1)
            left = seconds * USABLE - (time.monotonic() - began)
            planned = agreed(min(longest, step + max(int(left / max(a_step, 1e-6)), 1)))
            replans -= 1
            stop = step + math.ceil((planned - step) * REPLAN_SHARE) if replans else planned
            average.plan(planned)
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
            if is_first():
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
        digest.update(str(getattr(self.model, "purpose", "")).encode())
        if self.source.weights is not None:
            digest.update(np.ascontiguousarray(self.source.weights, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def _step(self, fabric: Any, optimiser: Any, batch: Batch, step: int, steps: int) -> None:
        """Forward, backward, clip, update; a step whose loss or gradient is not finite is left out and counted."""
        for group in optimiser.param_groups:
            share = group.get("scale", 1.0)
            group["lr"] = self.spec.learning_rate * rate_factor(step, steps, self.spec.warm_up) * share
        before = self.rows_at_once.most
        outline = self.source.outline(step) if num_ranks() > 1 else None
        parts = self.rows_at_once.run(batch.size, lambda rows: self._pass(fabric, batch, step, rows, outline))
        if outline is not None:
            batch = outline.whole
            parts = self._summed_parts(parts)
        if self.rows_at_once.most < before:
            self.result.rows_at_once = self.rows_at_once.most
            self._note(f"out of memory at step {step}, {parts_words(self.rows_at_once.most)}", step)
        norm = torch.nn.utils.clip_grad_norm_(self._stepped, self.spec.clip)
        loss = float(parts.pop(""))
        what = unsound(loss, norm)
        if what is None:
            self._watch(loss, step, batch)
            optimiser.step()
            self.balancing.learn()
            if hasattr(self.model, "after_step"):
                self.model.after_step()  # type: ignore[operator]
            self.result.losses.append(loss)
        else:
            self._leave_out(what, step, batch)
        self._check_weights(step, batch)
        if step % 10 == 0:
            weights = self.balancing.weights
            if weights:
                self.result.weights.append((step, weights))
            curves = {f"loss/{name}": float(value) for name, value in parts.items()}
            curves |= {f"weight/{name}": value for name, value in weights.items()}
            useful, computed = useful_tokens(batch)
            curves |= {"useful_tokens": useful / computed} if computed else {}
            rate = optimiser.param_groups[0]["lr"]
            self.logger.log({"loss": loss, "rate": rate, "norm": float(norm), **curves}, step)

    def _summed_parts(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sum gradients and losses over all processes; the message says too whether one is to end."""
        names = ["", *self.model.targets, "alignment"]
        told = [self.halt.is_set(), self.halt.is_set() and self.halt.save]
        zero = torch.zeros((), device=self._stepped[0].device)
        sums = torch.stack([parts.get(name, zero).float() for name in names] + [zero + float(item) for item in told])
        sum_over_ranks([*(weight.grad for weight in self._stepped if weight.grad is not None), sums])
        values = sums.tolist()
        self._told = (values[-2] > 0, values[-1] > 0)
        return {name: sums[number] for number, name in enumerate(names) if name == "" or values[number]}

    def _meet(self, step: int) -> None:
        """Begin with equal weights at the same step in all processes.

        Raises:
            InputError: The losses' weights are learnt, which needs each process's own.
            ArtefactError: The processes go on from different checkpoints.
        """
        if num_ranks() == 1:
            return
        if self.spec.balancing != "none":
            alone_only("balancing the losses of targets (--set balancing)")
        if agreed(step) != step:
            raise ArtefactError(
                f"process {rank()} goes on from step {step}, the first process from another one",
                fix="Give with --out a folder that every machine sees",
            )
        start_alike([weight.detach() for weight in self.model.parameters()])

    def _halting(self) -> bool:
        return self._told[0] if num_ranks() > 1 else self.halt.is_set()

    def _to_save(self) -> bool:
        return self._told[1] if num_ranks() > 1 else self.halt.save

    def _end(self) -> NoReturn:
        """Stop because this process is to end, or another one that trains with it."""
        if self.halt.is_set():
            raise Halted
        raise OmnifuseError(
            "another process of this training was told to end", fix="Type the same with --resume to go on with it"
        )

    def _pass(
        self, fabric: Any, batch: Batch, step: int, rows: int, outline: Outline | None = None
    ) -> dict[str, Tensor]:
        """Forward and backward of a batch with so many rows at once: the parts of its loss, "" for the whole."""
        # Dropout and mixup depend on seed and step alone, so a resumed run draws what an uninterrupted one draws
        seed = (self.seed * 1_000_003 + step) % 2**62
        self.generator.manual_seed(seed)
        seed_torch(seed)
        torch._foreach_zero_([weight.grad for weight in self._stepped if weight.grad is not None])
        self.balancing.begin()
        losses: dict[str, Tensor] = {}
        whole = batch if outline is None else outline.whole
        # No two processes draw the same partners of mixup
        first = rank() * PARTS_APART
        for number, (part, shares) in enumerate(parts_of(batch, self.model, rows, outline=outline), start=first):
            size, part = part.size / whole.size, part.to(fabric.device)
            # Not through Fabric's wrapper: it walks through every output, frozen dataclasses among them, at each step
            with fabric.autocast():
                output = self.model(*mixed(part, self.model, self.spec, [self.seed, step, 11, number]))
            output = as_part(output, self.model, size, shares)
            fabric.backward(self.balancing.loss(output) * self.source.share(whole))
            assert output.loss is not None
            for name, value in {"": output.loss, **output.parts}.items():
                losses[name] = losses.get(name, 0.0) + value.detach()
        return losses

    def _leave_out(self, what: str, step: int, batch: Batch) -> None:
        """Count a step that is not learnt from, with its rows.

        Raises:
            OmnifuseError: It is one too many.
        """
        bad = BadStep(step, what, batch.rows.tolist())
        self.result.bad_steps.append(bad)
        self.result.losses.append(self.result.losses[-1] if self.result.losses else 0.0)
        self._note(bad.words, step, bad.rows)
        if len(self.result.bad_steps) > MAX_BAD_STEPS:
            raise OmnifuseError(
                f"loss or gradient were not finite in {len(self.result.bad_steps)} steps",
                where=f"last at step {step}, {rows_words(bad.rows)}",
                fix="Lower the rate with --set learning_rate=0.0005, and look at these rows for wild numbers",
            )

    def _check_weights(self, step: int, batch: Batch) -> None:
        """Weights that are not finite cannot be left out like a step: the checkpoint before is gone on from.

        Raises:
            OmnifuseError: Names the step, the weights and the rows.
        """
        if not are_sound(self._stepped):
            names = unsound_weights(self.model)
            raise OmnifuseError(
                f"{len(names)} weights are not finite at step {step} ({', '.join(names[:3])})",
                where=rows_words(batch.rows.tolist()),
                fix="Type the same with --resume to go on from the checkpoint before; where it happens again, lower "
                "the rate with --set learning_rate=0.0005",
            )

    def _watch(self, loss: float, step: int, batch: Batch) -> None:
        """Flag a loss that is many times the usual one: in the curves, in the progress, in the result."""
        recent = self.result.losses[-SPIKE_WINDOW:]
        if len(recent) < LEAST_HISTORY:
            return
        usual = statistics.median(recent)
        if loss >= SPIKE * max(usual, SPIKE_FLOOR):
            self.result.spikes.append((step, loss, usual))
            self.logger.log({"spike": loss / max(usual, SPIKE_FLOOR)}, step)
            self._note(spike_words(step, loss, usual), step, batch.rows.tolist())

    def _note(self, text: str, step: int, rows: Sequence[int] = ()) -> None:
        """Say in the progress what happened, and to which rows, and keep it with all of them beside the curves."""
        self.remarks.append(f"{text} ({rows_words(rows)})" if rows else text)
        self.logger.note(f"{text}: rows {', '.join(str(row) for row in rows)}" if rows else text, step)

    def _judged(self, average: WeightAverage, step: int, steps: int) -> bool:
        """Score the averaged weights now and then; True where patience ends."""
        every = max(1, steps // NUM_JUDGEMENTS)
        if self.judge is None or (step % every and step != steps):
            return False
        current = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        average.use()
        self.model.eval()
        score = agreed(self.judge(self.model) if is_first() else 0.0)
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
                "remark": "; ".join(self.remarks) or None,
            }
        )
        self.remarks.clear()

    def _save(self, optimiser: torch.optim.Optimizer, average: WeightAverage, step: int, steps: int) -> None:
        """Write a checkpoint; where the disk does not take it, that is said and training goes on."""
        if self.place is None or not is_first():
            return
        tensors = pack_state(self.model, optimiser, average)
        facts = {"step": step, "steps": steps, "identity": self._identity(), "balancing": self.balancing.state()}
        facts |= self.result.facts()
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best[1].items()}
            facts |= {"best": self.best[0], "best_step": self.best_step}
        try:
            self.place.save(Checkpoint(tensors, facts))
            self.save_failed = False
        except OSError as error:  # a training is worth more than its newest checkpoint, and the one before is whole
            reason = error.strerror or str(error)
            self.result.unsaved.append((step, reason))
            if not self.save_failed:
                self.remarks.append(f"the checkpoint of step {step} could not be written ({reason}); training goes on")
            self.save_failed = True

    def _take_best(self, saved: Checkpoint) -> dict[str, Tensor]:
        """Take the best weights out of a checkpoint's tensors; the others are given back."""
        best = {name.removeprefix("best/"): value for name, value in saved.tensors.items() if name.startswith("best/")}
        if best:
            self.best, self.best_step = (float(saved.facts["best"]), best), int(saved.facts["best_step"])
        return {name: value for name, value in saved.tensors.items() if not name.startswith("best/")}

    def _finish(self, average: WeightAverage, steps: int) -> None:
        """Put the averaged (best) weights into the model."""
        give_generator(self.model, None)
        self.result.steps = steps
        if self.best is not None:
            self.model.load_state_dict(self.best[1])
        elif self.spec.averaging > 0:
            average.use()
        release(self.model)
        self.model.eval()

    def _summed(self, seconds: float, step: int, start: int) -> TrainingResult:
        rows = (step - start) * len(self.source.rows) / self.source.steps_per_epoch
        self.result.epochs = step / self.source.steps_per_epoch
        self.result.seconds = seconds
        self.result.samples_per_s = rows / max(seconds, 1e-9)
        self.result.wait_share = self.source.waited / max(seconds, 1e-9)
        return self.result
