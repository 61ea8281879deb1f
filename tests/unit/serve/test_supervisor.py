"""A worker that is dead or stuck is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.serving import until

# A supervisor whose workers write their number to a file and beat; what else they do is told by the file "do"
CODE = """
import os, sys, time
from omnifuse.serve.supervisor import Supervisor
home, = sys.argv[1:]
worker = '''
import os, signal, sys, time
home, handle = sys.argv[1], int(sys.argv[2])
what = open(home + "/do").read()
if what == "fail":
    sys.exit(2)
open(home + "/pids", "a").write(f"{os.getpid()}\\\\n")
if what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    os.write(handle, b"model7\\\\n")
    time.sleep(0.1)
'''
keeper = Supervisor([sys.executable, "-S", "-c", worker, home], [], lambda name: print(name, flush=True),
                    silent_s=4.0, shutdown_s=1.0)
sys.exit(keeper.run())
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor")


@pytest.fixture
def keeper(tmp_path):
    started = []

    def start(what):
        (tmp_path / "do").write_text(what)
        started.append(subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.PIPE, text=True))
        return started[0]

    def pids():
        path = tmp_path / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    yield start, pids
    for process in started:
        process.kill()
        process.communicate()
    for pid in pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_t55_dead_and_stuck_workers_are_replaced(keeper):
    start, pids = keeper
    process = start("beat")
    until(lambda: len(pids()) == 1, 60)
    os.kill(pids()[0], signal.SIGKILL)
    until(lambda: len(pids()) == 2, 60)
    os.kill(pids()[1], signal.SIGSTOP)
    until(lambda: len(pids()) == 3, 60)
    until(lambda: not is_alive(pids()[1]), 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert process.stdout.read() == "model7\n"
    assert not any(map(is_alive, pids()))


def test_a_worker_that_does_not_end_is_killed(keeper):
    start, pids = keeper
    process = start("stubborn")
    until(lambda: pids(), 60)
    assert process.stdout.readline() == "model7\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not is_alive(pids()[0])


def test_a_first_worker_that_fails_ends_all_with_its_code(keeper):
    start, _ = keeper
    assert start("fail").wait(60) == 2
