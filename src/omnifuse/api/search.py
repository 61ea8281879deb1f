"""`fit --search`: settings by trial, on rows that the report does not score."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from omnifuse.api.member import Task, judge_on, prepare_member
from omnifuse.api.options import FitOptions, Listener
from omnifuse.api.partition import MemberRows, Partition
from omnifuse.api.prepare import Prepared
from omnifuse.api.search_rows import search_rows
from omnifuse.api.search_space import search_space, starting_point
from omnifuse.api.unseen import skill, unseen_scores
from omnifuse.errors import ArtefactError, MissingDependencyError, OmnifuseError
from omnifuse.files import make_folder, remove_folder
from omnifuse.presets import Preset, with_settings
from omnifuse.training.lanes import Halt, side_by_side
from omnifuse.training.loop import Trainer
from omnifuse.training.result import TrainingResult

# A trial trains this share of the passes of a fit
PASSES_SHARE, MAX_TRIALS = 0.25, 200
# Where within the training of a member its loss on unseen rows is held against the median of the trials before
RUNGS = (0.25, 0.5, 0.75)
FREE_TRIALS = 4
STATES = {"COMPLETE": "done", "PRUNED": "pruned"}


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        settings: The best trial's, as they are typed; empty where no trial ended.
        score: Its skill on unseen rows: 1 perfect, 0 no better than class shares or the mean.
        trials: One entry a trial: number, settings, score, seconds, state ("done", "pruned" or "failed").
        passes: Over the rows in each trial.
    """

    settings: dict[str, str]
    score: float | None
    trials: tuple[dict[str, Any], ...]
    passes: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in model.json under `search`."""
        return {
            "settings": self.settings,
            "score": self.score,
            "num_trials": len(self.trials),
            "passes": self.passes,
            "trials": list(self.trials),
        }


class OutOfTimeError(Exception):
    """The search's minutes are over in the middle of a trial."""


def need_search() -> None:
    """Say which line to type where optuna is not installed.

    Raises:
        MissingDependencyError: It is absent.
    """
    if find_spec("optuna") is None:
        raise MissingDependencyError(
            "--search needs optuna, which is not installed", fix='Type: pip install "omnifuse[search]"'
        )


class Search:
    """Trials of settings, kept in OUT/search/search.db.

    Trial number n draws from (seed, n) and the results of the trials before alone, so a resumed search draws what an
    uninterrupted one draws; how many trials the minutes hold is up to the machine.

    Args:
        prepared: The table.
        members: Rows of each trial's networks.
        preset: Where the search starts; its own settings are the first trial.
        options: Of the fit: seed, minutes of the search, passes, resume.
        listen: Hears of each trial.

    References: Akiba et al. 2019, Optuna; Bergstra et al. 2011 (the tree of Parzen estimators that draws).
    """

    def __init__(
        self,
        prepared: Prepared,
        members: Sequence[MemberRows],
        preset: Preset,
        *,
        options: FitOptions,
        listen: Listener,
    ) -> None:
        self.prepared, self.members, self.preset, self.listen = prepared, members, preset, listen
        fixed = {*options.settings, *(["fusion"] if options.fusion != "joint" else [])}
        self.space = search_space(preset, fixed=fixed, num_inputs=len(prepared.schema.inputs))
        self.passes = max(1, round((options.epochs or preset.training.epochs) * PASSES_SHARE))
        # A fixed number of passes: what a trial learns does not depend on the machine
        self.options = replace(options, epochs=self.passes, minutes=None, resume=False, logger="none")
        self.limit_s = 60.0 * (options.search or 0.0)
        self.resume = options.resume
        self.folder = options.out / "search"
        self.storage: Any = None

    def run(self) -> SearchResult:
        """Try settings until the minutes are over.

        Raises:
            ArtefactError: The search to go on from is of another table, seed or space.
        """
        import optuna

        study = self._open(optuna)
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in study.trials)
        began = time.monotonic() - spent
        names = ", ".join(item.name for item in self.space)
        self.listen("stage", {"text": f"searching for settings, {self.limit_s / 60:g} minutes at most: {names}"})
        while time.monotonic() - began < self.limit_s and len(study.trials) < MAX_TRIALS + _waiting(study):
            number = len(study.trials) - _waiting(study)
            study.sampler = optuna.samplers.TPESampler(
                seed=int(np.random.default_rng([self.options.seed, number]).integers(2**31)),
                n_startup_trials=FREE_TRIALS,
            )
            self._try(optuna, study, began)
        result = self._result(study)
        self.storage.remove_session()
        self.storage.engine.dispose()
        return result

    def _open(self, optuna: Any) -> Any:
        """The study on disk: a new one, or with `--resume` the one that is there."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if not self.resume:
            remove_folder(self.folder)
        make_folder(self.folder)
        self.storage = optuna.storages.RDBStorage(f"sqlite:///{(self.folder / 'search.db').resolve()}")
        study = optuna.create_study(
            storage=self.storage,
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FREE_TRIALS),
        )
        identity = self._identity()
        if study.user_attrs.get("identity", identity) != identity:
            raise ArtefactError(
                "the search belongs to another table, seed or set of options",
                where=f"folder {self.folder.name}",
                fix="Resume with the same table and options, or fit anew without --resume",
            )
        study.set_user_attr("identity", identity)
        for trial in study.trials:  # what was running when an older process ended
            if trial.state == optuna.trial.TrialState.RUNNING:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if not study.trials:
            study.enqueue_trial(starting_point(self.preset, self.space))
        return study

    def _identity(self) -> str:
        digest = hashlib.sha256()
        for item in self.members:
            digest.update(np.concatenate([item.train, item.out]).astype(np.int64).tobytes())
        facts = [self.options.seed, self.passes, [asdict(item) for item in self.space]]
        digest.update(json.dumps([*facts, self.preset.model.to_json(), self.preset.training.to_json()]).encode())
        return digest.hexdigest()

    def _try(self, optuna: Any, study: Any, began: float) -> None:
        """One trial, told to the study however it ends."""
        states = optuna.trial.TrialState
        trial, started = study.ask(), time.monotonic()
        settings = {item.name: item.suggest(trial) for item in self.space}
        trial.set_user_attr("settings", settings)
        # The preset's own settings are always tried to the end
        deadline = began + self.limit_s if trial.number else float("inf")
        score, state, words = None, states.FAIL, ""
        try:
            score = self._score(trial, settings, deadline)
            state = states.COMPLETE if np.isfinite(score) else states.FAIL
        except optuna.TrialPruned:
            state, words = states.PRUNED, "pruned: below the median of the trials before"
        except OutOfTimeError:
            words = "cut off: the minutes of the search are over"
        except OmnifuseError as error:
            words = f"failed: {error}"
        trial.set_user_attr("seconds", round(time.monotonic() - started, 3))
        study.tell(trial, score if state == states.COMPLETE else None, state=state)
        words = words or f"score {score:.3f}"
        self.listen("stage", {"text": f"trial {trial.number}: {words} ({settings_words(settings)})"})

    def _score(self, trial: Any, settings: dict[str, str], deadline: float) -> float:
        """Mean skill of the members on their unseen rows."""
        preset = with_settings(self.preset, settings)
        task = Task("search", preset.model, preset.training, self.prepared.schema, self.folder, self.options.seed)
        skills = []
        for number, rows in enumerate(self.members):
            trainer = prepare_member(self.prepared, rows, task, number, options=self.options)
            trainer.place = None
            trainer.report = self._rungs(trial, trainer, number, rows, deadline)
            side_by_side([_job(trainer, self.passes)])
            scores = unseen_scores(self.prepared, trainer.model, learnt=rows.train, rows=rows.out, seed=task.seed)
            skills.append(skill(self.prepared, scores, learnt=rows.train, rows=rows.out))
        return float(np.mean(skills))

    def _rungs(
        self, trial: Any, trainer: Trainer, number: int, rows: MemberRows, deadline: float
    ) -> Callable[[dict[str, Any]], None]:
        """Hold the loss on unseen rows against that of other trials at the same step; end trials that lag behind."""
        import optuna

        judge = judge_on(self.prepared, self.prepared.schema, rows.out, rows.train)
        left = list(enumerate(RUNGS))

        def report(data: dict[str, Any]) -> None:
            if time.monotonic() > deadline:
                raise OutOfTimeError
            if judge is None or not left or data["fraction"] < left[0][1]:
                return
            rung, _ = left.pop(0)
            trainer.model.eval()
            trial.report(judge(trainer.model), number * len(RUNGS) + rung)
            trainer.model.train()
            if trial.should_prune():
                raise optuna.TrialPruned

        return report

    def _result(self, study: Any) -> SearchResult:
        trials = tuple(
            {
                "trial": trial.number,
                "settings": trial.user_attrs.get("settings", {}),
                "score": trial.value if trial.state.name == "COMPLETE" else None,
                "seconds": trial.user_attrs.get("seconds", 0.0),
                "state": STATES.get(trial.state.name, "failed"),
            }
            for trial in study.trials
            if trial.state.name != "WAITING"
        )
        done = [item for item in trials if item["score"] is not None]
        if not done:
            return SearchResult({}, None, trials, self.passes)
        best = max(done, key=lambda item: item["score"])
        return SearchResult(best["settings"], best["score"], trials, self.passes)


def _waiting(study: Any) -> int:
    return sum(trial.state.name == "WAITING" for trial in study.trials)


def _job(trainer: Trainer, passes: int) -> Callable[[Halt], TrainingResult]:
    def run(halt: Halt) -> TrainingResult:
        trainer.halt = halt
        return trainer.run(epochs=passes)

    return run


def settings_words(settings: dict[str, str]) -> str:
    """Settings on one line.

    Example:
        >>> settings_words({"dim": "32", "dropout": "0.1"})
        'dim=32 dropout=0.1'
    """
    return " ".join(f"{name}={value}" for name, value in settings.items())


def search_settings(
    prepared: Prepared, parts: Partition, preset: Preset, *, options: FitOptions, listen: Listener, elsewhere: bool
) -> tuple[Preset, SearchResult]:
    """Search, and give the preset with the best settings.

    Args:
        prepared: The table.
        parts: The division of the fit.
        preset: Where the search starts.
        options: Of the fit.
        listen: Hears of each trial.
        elsewhere: Whether another table is scored.
    """
    members = search_rows(prepared, parts, seed=options.seed, scored_elsewhere=elsewhere)
    result = Search(prepared, members, preset, options=options, listen=listen).run()
    return with_settings(preset, result.settings), result
