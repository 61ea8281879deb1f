"""T39: media decoded by other processes; one that hangs, dies or fails costs one cell, which is named."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.made_media import encoded, sound

from omnifuse.data import workers
from omnifuse.data.audio import AudioPreprocessor
from omnifuse.data.image import ImagePreprocessor
from omnifuse.data.media import MediaDoor, MediaLimits
from omnifuse.data.workers import WorkerPool, decode_cell, serve
from omnifuse.errors import OmnifuseError

DRAW = np.random.default_rng(0)
PICTURES = ImagePreprocessor(16, 16)


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        pixels = DRAW.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


# A worker whose decoder hangs, dies, or fails over some names; it reads its behaviour from the name of the file.
FAULTY = """
import os, signal, sys, time
import omnifuse.data.workers as workers
decode = workers.decode_cell
def faulty(cell, preprocessor, door):
    name = str(cell)
    if "hang" in name: time.sleep(600)
    if "die" in name: os.kill(os.getpid(), signal.SIGKILL)
    if "exit" in name: os._exit(1)
    if "raise" in name: raise ZeroDivisionError("secret /home/someone 0x7f")
    if "print" in name: print("noise", flush=True); os.system("echo noise")
    return decode(cell, preprocessor, door)
workers.decode_cell = faulty
answers_to = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
workers.serve(sys.stdin.buffer, answers_to)
"""


HANGING = """
import sys, threading, time
from omnifuse.data.workers import _leave_with_parent
threading.Thread(target=_leave_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
time.sleep(600)
"""


@pytest.fixture
def faulty(monkeypatch):
    """Start the faulty worker in place of the true one; counts how many processes are started."""
    started = []
    popen = subprocess.Popen

    def start(command, **options):
        assert command[-3:] == ["-m", "omnifuse.data.workers", str(os.getpid())]
        process = popen([*command[:-3], "-c", FAULTY], **options)
        started.append(process)
        return process

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    return started


def decode(cells, preprocessor=PICTURES, *, root=None, count=2, timeout_s=30.0, **options):
    with WorkerPool(count, timeout_s=timeout_s) as pool:
        return list(pool.decode(cells, preprocessor, MediaDoor(root=root, **options)))


def test_workers_give_what_this_process_gives(folder):
    cells = [f"{number}.png" for number in range(12)]
    cells += [folder / "3.png", (folder / "4.png").read_bytes(), bytearray((folder / "5.png").read_bytes())]
    cells += [np.zeros((3, 3), np.uint8), Image.new("L", (4, 4)), "none.png", b"nothing", "http://a/b.png", 3.5]
    door = MediaDoor(root=folder)
    expected = [decode_cell(cell, PICTURES, door) for cell in cells]
    got = decode(cells, root=folder)
    assert len(got) == len(cells)
    for one, other in zip(got, expected, strict=True):
        if isinstance(other, str):
            assert one == other
        else:
            np.testing.assert_array_equal(one["pixels"], other["pixels"])
            assert one["pixels"].dtype == np.uint8
    assert sum(isinstance(answer, str) for answer in got) == 4
    assert "There is no such file. Read from 'none.png'" in got[-4]


def test_large_answers_and_large_contents_do_not_lock_each_other_out():
    preprocessor = AudioPreprocessor(rate_hz=8000, max_seconds=60)
    cells = [sound(DRAW.normal(0, 0.1, 400_000))] * 6
    got = decode(cells, preprocessor, count=1)
    expected = decode_cell(cells[0], preprocessor, MediaDoor())["log_mel"]
    assert expected.nbytes > 1_000_000
    for answer in got:
        # Workers compute on one thread, this process on several: the last bits of the products differ
        np.testing.assert_allclose(answer["log_mel"], expected, atol=2e-3)


def test_empty_answers_and_no_cells_at_all():
    assert decode([]) == []
    assert decode([np.zeros((0, 2), np.uint8)]) == ["The picture has no pixels (0 x 2)."]


def test_limits_and_confinement_reach_the_workers(folder):
    (folder / "inner").mkdir()
    answers = decode(["../1.png", folder / "2.png"], root=folder / "inner", confined=True)
    assert all("outside the folder of media" in answer for answer in answers)
    limits = MediaLimits(max_pixels=100)
    (answer,) = decode(["1.png"], root=folder, limits=limits)
    assert "20 x 20 pixels" in answer
    (answer,) = decode([bytes(2000)], limits=MediaLimits(max_file_bytes=1000))
    assert "at most 0 MB are read" in answer


def test_t39_decoder_that_hangs_is_stopped_and_its_file_named(folder, faulty):
    (folder / "hang.png").write_bytes((folder / "0.png").read_bytes())
    cells = ["1.png", "2.png", "hang.png", "3.png", "4.png", "5.png"]
    got = decode(cells, root=folder, count=1, timeout_s=0.6)
    assert got[2] == "decoding 'hang.png' took longer than 0.6 s and was stopped"
    assert [isinstance(answer, dict) for answer in got] == [True, True, False, True, True, True]
    assert len(faulty) == 2
    assert all(process.poll() is not None for process in faulty)


@pytest.mark.parametrize("fault", ["die", "exit"])
def test_t38_decoder_that_dies_costs_one_cell_which_is_named(folder, faulty, fault):
    for name in (f"{fault}1.png", f"{fault}2.png"):
        (folder / name).write_bytes((folder / "0.png").read_bytes())
    cells = [f"{fault}1.png", "1.png", "2.png", "3.png", f"{fault}2.png", "5.png"]
    got = decode(cells, root=folder, count=1)
    for number in (0, 4):
        assert got[number].startswith(f"the process that decoded '{cells[number]}' was killed")
    for number in (1, 2, 3, 5):
        np.testing.assert_array_equal(
            got[number]["pixels"], decode_cell(cells[number], PICTURES, MediaDoor(root=folder))["pixels"]
        )
    assert len(faulty) == 3


def test_t39_decoder_that_raises_costs_one_cell_and_no_process(folder, faulty, capfd):
    (folder / "raise.png").touch()
    got = decode(["raise.png", "1.png"], root=folder, count=1)
    assert got[0] == "decoding 'raise.png' failed: ZeroDivisionError"
    assert isinstance(got[1], dict)
    assert len(faulty) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_noise_that_a_decoder_prints_does_not_get_between_the_answers(folder, faulty, capfd):
    (folder / "print.png").write_bytes((folder / "0.png").read_bytes())
    got = decode(["print.png", "1.png"], root=folder, count=1)
    assert all(isinstance(answer, dict) for answer in got)
    captured = capfd.readouterr()
    assert captured.err.count("noise") == 2
    assert captured.out == ""


def test_processes_that_do_not_start_say_so_instead_of_blaming_every_file(folder, monkeypatch):
    popen = subprocess.Popen
    monkeypatch.setattr(
        workers.subprocess, "Popen", lambda command, **options: popen([sys.executable, "-c", "pass"], **options)
    )
    with pytest.raises(OmnifuseError, match="The process that decodes media does not start"):
        decode(["1.png", "2.png"], root=folder)


def test_interrupt_ends_the_processes(folder, faulty):
    (folder / "hang.png").touch()
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        decode(["hang.png"] * 20, root=folder, count=2)
    timer.join()
    until = time.monotonic() + 10
    while any(process.poll() is None for process in faulty) and time.monotonic() < until:
        time.sleep(0.02)
    assert [process.poll() is None for process in faulty] == [False, False]


def test_failure_of_one_worker_ends_the_others(folder, faulty, monkeypatch):
    (folder / "hang.png").touch()
    answer = workers._Worker._answer
    first = []

    def fail_once(worker):
        if not first:
            first.append(worker)
            raise RuntimeError("our own mistake")
        return answer(worker)

    monkeypatch.setattr(workers._Worker, "_answer", fail_once)
    with pytest.raises(RuntimeError, match="our own mistake"):
        decode(["hang.png"] * 20, root=folder, count=2)
    assert all(process.poll() is not None for process in faulty)


def test_workers_leave_when_their_parent_is_killed(tmp_path):
    script = f"""
import os, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-P", "-c", {HANGING!r}, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
            os.kill(child, 0)
        except OSError:
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_module_in_the_working_directory_does_not_replace_one_of_pythons(folder, monkeypatch):
    for name in ("json.py", "queue.py", "numpy.py"):
        (folder / name).write_text("open('canary', 'w').close(); raise SystemExit")
    monkeypatch.chdir(folder)
    assert isinstance(decode(["1.png"])[0], dict)
    assert not Path("canary").exists()


def test_memory_that_does_not_suffice_is_a_reason(monkeypatch):
    class Greedy(MediaDoor):
        def image(self, cell, *, min_side=0, remarks=None):
            raise MemoryError

    assert decode_cell("a\n.png", PICTURES, Greedy()) == "There is not enough memory to decode 'a?.png'."
    assert decode_cell(b"x", PICTURES, Greedy()) == "There is not enough memory to decode the medium."


def message(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<IQ", len(header), len(body)) + header + body


def test_protocol_ends_quietly_where_the_stream_is_cut():
    setting = (
        b'{"preprocessor": {"kind": "image", "height": 4, "width": 4, "fit": "pad"}, "root": null, '
        b'"confined": false, "limits": {}}'
    )
    whole = message(setting) + message(b"{}", encoded(Image.new("RGB", (4, 4), (7, 7, 7))))
    for length in (0, 5, 12, 40, len(message(setting)) + 20, len(whole) - 1, len(whole)):
        answers = io.BytesIO()
        serve(io.BytesIO(whole[:length]), answers)
        answers.seek(0)
        received = []
        while (answer := workers._receive(answers)) is not None:
            received.append(answer)
        expected = (length >= len(message(setting))) + (length == len(whole))
        assert len(received) == expected
    assert received[0][0] == {"ready": True}
    header, body = received[1]
    assert header == {"arrays": [{"name": "pixels", "dtype": "|u1", "shape": [1, 4, 4, 3]}]}
    assert body == bytes([7]) * 48
