"""A new version of a model answers once it is whole."""

from __future__ import annotations

import asyncio

import pytest
from tests.serving import FakeAnswerer

from omnifuse.errors import ArtefactError
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.question import Question
from omnifuse.serve.reload import Reloader
from omnifuse.serve.service import Service


class Recorder:
    def __init__(self):
        self.models, self.errors = [], []

    def decoded(self, seconds):
        pass

    def batch(self, report):
        pass

    def error(self, kind, count=1):
        self.errors.append(kind)

    def model(self, model_id):
        self.models.append(model_id)


class Broken(FakeAnswerer):
    def answer(self, decoded):
        raise ValueError("no answer")


def test_a_new_version_takes_over_and_a_broken_one_does_not(tmp_path):
    recorder = Recorder()
    path = tmp_path / "model.json"
    path.write_text("1")
    following = []

    def load():
        found = following.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def scenario():
        service = Service(FakeAnswerer(), ServeLimits(), recorder)
        await service.start()
        reloader = Reloader(service, tmp_path, load)

        async def asked():
            (row,) = await service.predict(lambda columns, limits: Question([{"note": "red"}], [[]]))
            return row["model_id"]

        assert not await reloader.look()
        for content, found, expected in (
            ("22", FakeAnswerer("fake00000002"), "fake00000002"),
            ("333", ArtefactError("the digest does not match"), "fake00000002"),
            ("4444", Broken("fake00000004"), "fake00000002"),
            ("55555", FakeAnswerer("fake00000005"), "fake00000005"),
        ):
            path.write_text(content)
            following.append(found)
            assert await reloader.look() == (expected == getattr(found, "model_id", ""))
            assert await asked() == expected
            assert not await reloader.look()  # what was seen is not loaded again
        path.unlink()
        assert not await reloader.look()
        await service.close()

    asyncio.run(scenario())
    assert recorder.models == ["fake00000001", "fake00000002", "fake00000005"]
    assert recorder.errors == ["reload", "reload"]


def test_a_server_starts_only_with_a_model_that_answers_its_example():
    async def scenario(answerer):
        service = Service(answerer, ServeLimits(), Recorder())
        assert service.health() != "ok"
        try:
            await service.start()
            return service.health()
        finally:
            await service.close()

    assert asyncio.run(scenario(FakeAnswerer())) == "ok"
    with pytest.raises(ValueError, match="no answer"):
        asyncio.run(scenario(Broken()))
