"""The server without its network: questions in, answers out, through a bounded pool and the batcher."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from omnifuse.errors import InputError
from omnifuse.schema import Prediction
from omnifuse.serve.answerer import Answerer
from omnifuse.serve.answers import NOT_ANSWERED, NOT_READ, failed, finished, is_finite
from omnifuse.serve.batcher import Batcher, BatchReport, Failure, Work
from omnifuse.serve.columns import Columns
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.logs import event
from omnifuse.serve.question import Question
from omnifuse.serve.request_error import RequestError, overloaded
from omnifuse.serve.versions import Key, Lineup, Version, check_answer, check_answers, decoded_example

Result = TypeVar("Result")
Read = Callable[[Columns, ServeLimits], Question]


def _no_key() -> str:
    return ""


class Recorder(Protocol):
    """What the service tells of itself; see `metrics.Metrics`."""

    def decoded(self, seconds: float) -> None:
        """A request was decoded."""

    def batch(self, report: BatchReport) -> None:
        """A batch was answered."""

    def error(self, kind: str, count: int = 1) -> None:
        """Something went wrong."""

    def model(self, *model_ids: str) -> None:
        """Other models answer from now on."""


@dataclass(frozen=True)
class _Decoded:
    """A question with a decoded row, or a `Failure`, for each of its rows."""

    version: Version
    question: Question
    rows: list[Any]


class Service:
    """Answers questions with the model that is current when they come.

    Args:
        answerer: The first model, or several of which the key of a request chooses.
        limits: All bounds.
        recorder: Hears what is measured.
        num_workers: Threads that read and preprocess requests.
    """

    def __init__(
        self, answerer: Answerer | Lineup, limits: ServeLimits, recorder: Recorder, *, num_workers: int = 2
    ) -> None:
        self.limits, self.recorder = limits, recorder
        self.lineup = answerer if isinstance(answerer, Lineup) else Lineup(Version.of(answerer))
        self.batcher = Batcher(limits, recorder.batch)
        self.is_ready = False
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="omnifuse-decode")
        self._num_requests = 0
        self._tell_models()

    @property
    def version(self) -> Version:
        """The model that answers, or that in production."""
        return self.lineup.production

    def line_up(self, lineup: Lineup) -> None:
        """Let other versions answer from now on, which were tried; from any thread.

        Requests that are being answered are finished by the model that decoded them.
        """
        self.lineup = lineup
        self._tell_models()

    def _tell_models(self) -> None:
        self.recorder.model(*(version.model_id for version in self.lineup.versions))

    async def start(self) -> None:
        """Begin to answer; the example is answered once, so that the first client does not wait for it."""
        self.batcher.start()
        await self.call(check_answers, self.version, self.limits)
        self.is_ready = True

    async def close(self) -> None:
        """End."""
        self.is_ready = False
        await self.batcher.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def replace(self, load: Callable[[], Answerer]) -> None:
        """Load another model, let it answer its own example, and only then let it answer in the place of the present.

        Requests that are being answered are finished by the model that decoded them.

        Raises:
            Exception: Whatever loading or the example raises; the present model stays.
        """

        def loaded() -> Version:
            version = Version.of(load())
            check_answers(version, self.limits)
            return version

        # A thread of its own: loading must not take one from the requests
        self.line_up(Lineup(await asyncio.to_thread(loaded)))

    async def check(self, version: Version) -> None:
        """Have a version that answers requests answer its own example, among them.

        Raises:
            Exception: Whatever answering raises.
            TimeoutError: The server has too much to do to tell.
        """
        row = await self.call(decoded_example, version, self.limits)
        try:
            async with asyncio.timeout(self.limits.request_s):
                (found,) = await self.batcher.submit(version.answerer.answer, [row])
        except RequestError:
            raise TimeoutError from None
        if isinstance(found, Failure):
            raise found.error
        check_answer(found)

    def health(self) -> str:
        """ "ok", or why the server cannot answer."""
        if self.batcher.stuck_s() > self.limits.stuck_s:
            return "a batch does not end"
        return "ok" if self.is_ready else "starting or ending"

    async def predict(self, read: Read, key: Key = _no_key) -> list[dict[str, Any]]:
        """One prediction a row, as plain JSON values.

        Args:
            read: Makes the question; called in the pool.
            key: Of the request, for the choice of the version; called there too, and only where there is a choice.

        Raises:
            RequestError: 4xx or 503.
        """
        decoded, results = await self._answer(read, key, lambda found: found.version.answerer.answer)
        return [self._prediction(decoded, number, found) for number, found in enumerate(results)]

    async def embed(self, read: Read, key: Key = _no_key) -> list[dict[str, Any]]:
        """The vectors of each row, as plain JSON values; as `predict`."""
        decoded, results = await self._answer(read, key, lambda found: found.version.answerer.embed)
        return self._rows(decoded, results)

    async def explain(self, read: Read, key: Key = _no_key) -> list[dict[str, Any]]:
        """What carried the answers to each row, as plain JSON values; as `predict`."""
        # Work of its own for each request: its rows share a batch with none of another's
        decoded, results = await self._answer(
            read, key, lambda found: partial(found.version.answerer.explain, parts=found.question.parts)
        )
        return self._rows(decoded, results)

    @staticmethod
    def _rows(decoded: _Decoded, results: Sequence[Any]) -> list[dict[str, Any]]:
        """Plain values of each row with its warnings, or what went wrong."""
        labels, rows = decoded.version.labels, list[dict[str, Any]]()
        for number, found in enumerate(results):
            good = isinstance(found, dict) and is_finite(found)
            row = {"row_id": number, **(found if good else {}), **labels}
            row["warnings"] = [*decoded.question.warnings[number], *_warnings_of(decoded.rows[number])]
            if not good:
                row["error"] = NOT_READ if isinstance(decoded.rows[number], Failure) else NOT_ANSWERED
            rows.append(row)
        return rows

    def _prediction(self, decoded: _Decoded, number: int, found: Any) -> dict[str, Any]:
        model_id = decoded.version.model_id
        if not isinstance(found, Prediction):
            reason = NOT_READ if isinstance(decoded.rows[number], Failure) else NOT_ANSWERED
            found = failed(number, model_id, reason)
        data = finished(found, decoded.question.warnings[number], proba=decoded.question.proba)
        return {**data, **decoded.version.labels}

    async def _answer(self, read: Read, key: Key, work_of: Callable[[_Decoded], Work]) -> tuple[_Decoded, list[Any]]:
        if not self.is_ready:
            raise overloaded("the server is starting or ending", 2.0)
        self.batcher.check_room()
        if self._num_requests >= self.limits.max_requests:
            raise overloaded("the server is answering too many requests", self.batcher.expected_wait_s)
        self._num_requests += 1
        try:
            async with asyncio.timeout(self.limits.request_s):
                with self.batcher.coming():
                    decoded = await self.call(self._decode, self.lineup, read, key)
                good = [number for number, row in enumerate(decoded.rows) if not isinstance(row, Failure)]
                results: list[Any] = list(decoded.rows)
                if good:
                    found = await self.batcher.submit(work_of(decoded), [decoded.rows[n] for n in good])
                    for number, answer in zip(good, found, strict=True):
                        results[number] = answer
        except TimeoutError:
            self.recorder.error("late")
            raise overloaded(f"no answer within {self.limits.request_s:g} s", 5.0) from None
        finally:
            self._num_requests -= 1
        self._tell(results, decoded.question)
        return decoded, results

    def _tell(self, results: Sequence[Any], question: Question) -> None:
        for found in results:
            if isinstance(found, Failure):
                self.recorder.error("row")
                event("row_failed", level=logging.ERROR, error=found.error)
        cells = sum(map(len, question.warnings)) + sum(len(_warnings_of(found)) for found in results)
        if cells:
            self.recorder.error("cell", cells)

    async def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run in the pool; what has not begun is cancelled with the caller."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _decode(self, lineup: Lineup, read: Read, key: Key) -> _Decoded:
        """In a thread of the pool: body to question to decoded rows."""
        start = time.monotonic()
        version = lineup.of(key)
        question = read(version.columns, self.limits)
        rows = decode_rows(version.answerer, question)
        self.recorder.decoded(time.monotonic() - start)
        return _Decoded(version, question, rows)


def decode_rows(answerer: Answerer, question: Question) -> list[Any]:
    """Decoded rows; where they cannot be read together, each alone, and a `Failure` for those that cannot at all.

    Raises:
        RequestError: 422, the question as a whole cannot be read.
    """
    try:
        found = list(answerer.decode(question.rows, question.history))
        if len(found) != len(question.rows):
            raise ValueError(f"{len(found)} decoded rows of {len(question.rows)}")
    except InputError as error:
        raise RequestError(422, error.what, where=error.where, fix=error.fix) from None
    except Exception as error:
        if len(question.rows) == 1:
            return [Failure(error)]
        alone = (Question([row], [[]], question.history) for row in question.rows)
        return [row for one in alone for row in decode_rows(answerer, one)]
    return found


def _warnings_of(found: Any) -> Sequence[str]:
    return tuple(getattr(found, "warnings", ()))
