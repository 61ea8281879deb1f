"""T24-T29 for the model folder: nothing foreign runs, nothing damaged loads."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from omnifuse.deploy.artefact import MANIFEST, WEIGHTS, Artefact, load_artefact, save_artefact
from omnifuse.deploy.weights import encode_weights, read_weights
from omnifuse.errors import ArtefactError

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int64)}


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def saved(folder: Path) -> Path:
    manifest = {"schema": {}, "preprocessors": {"note": {"kind": "text", "tokenizer": "{}"}}}
    save_artefact(folder, Artefact(manifest, TENSORS, "# card"))
    return folder


def test_round_trip(tmp_path):
    loaded = load_artefact(saved(tmp_path / "model"))
    assert {name: value.tolist() for name, value in loaded.weights.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    assert loaded.manifest["preprocessors"]["note"]["tokenizer"] == "{}"
    assert loaded.card == "# card"
    assert len(loaded.model_id) == 12


def test_equal_models_have_equal_bytes(tmp_path):
    first, second = saved(tmp_path / "one"), saved(tmp_path / "two")
    names = sorted(path.name for path in first.iterdir())
    assert {"model.json", "weights.safetensors"} <= set(names)
    assert names == sorted(path.name for path in second.iterdir())
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_weights_are_real_safetensors(tmp_path):
    from safetensors.numpy import load_file

    path = tmp_path / "weights.safetensors"
    path.write_bytes(encode_weights(TENSORS))
    found = load_file(path)
    assert set(found) == set(TENSORS)
    assert all(np.array_equal(found[name], value) for name, value in TENSORS.items())


def test_t24_pickle_renamed_is_refused_and_never_runs(tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(ArtefactError, match=r"not a safetensors file|damaged"):
        read_weights(path)
    assert not canary.exists()


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def raw_file(path: Path, header: str, body: bytes, length: int | None = None) -> Path:
    text = header.encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)
    return path


BAD_HEADERS = {
    "overlap": (json.dumps({"a": entry(), "b": entry(offsets=(4, 12))}), 12),
    "hole": (json.dumps({"a": entry(), "b": entry(offsets=(12, 20))}), 20),
    "negative": (json.dumps({"a": entry(shape=(-2,), offsets=(0, -8))}), 8),
    "size_mismatch": (json.dumps({"a": entry(shape=(3,))}), 8),
    "unknown_dtype": (json.dumps({"a": entry(dtype="__import__")}), 8),
    "duplicate_key": (f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}', 8),
    "truncated_tail": (json.dumps({"a": entry()}), 5),
    "trailing_bytes": (json.dumps({"a": entry()}), 30),
    "overflow_shape": (json.dumps({"a": entry(shape=(2**40, 2**40), offsets=(0, 8))}), 8),
    "float_offsets": ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8.0]}}', 8),
    "not_an_object": ("[1, 2]", 8),
    "deep": ("[" * 100_000, 8),
}


def processor_seconds(act):
    """Least processor time of several runs: waiting for a busy machine does not count."""
    taken = []
    for _ in range(3):
        started = time.thread_time()
        act()
        taken.append(time.thread_time() - started)
    return min(taken)


@pytest.mark.parametrize("name", sorted(BAD_HEADERS))
def test_t25_bad_safetensors_are_refused_quickly(tmp_path, name):
    header, body = BAD_HEADERS[name]
    path = raw_file(tmp_path / "w.safetensors", header, b"\0" * body)
    sound = tmp_path / "sound.safetensors"
    sound.write_bytes(encode_weights({f"layer{number}.weight": TENSORS["b"] for number in range(4000)}))

    def refuse():
        with pytest.raises(ArtefactError):
            read_weights(path)

    # The longest bad header has 100,000 characters, this sound one about three times as many
    assert processor_seconds(refuse) < processor_seconds(lambda: read_weights(sound))


def test_t25_header_of_100_mb_is_refused_before_it_is_read(tmp_path):
    path = raw_file(tmp_path / "w.safetensors", "{}", b"\0" * 64, length=100 * 1024 * 1024)
    with pytest.raises(ArtefactError, match="not a safetensors file or is cut short"):
        read_weights(path)


def tampered(folder: Path, change) -> Path:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return folder


def test_t26_config_cannot_name_code(tmp_path):
    folder = saved(tmp_path / "model")

    def poison(manifest):
        manifest["_target_"] = "os.system"
        manifest["auto_map"] = {"AutoModel": "evil.Model"}

    with pytest.raises(ArtefactError, match="digest"):
        load_artefact(tampered(folder, poison))


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/passwd", "a/../../x"])
def test_t27_files_outside_the_folder_are_refused(tmp_path, name):
    from omnifuse.deploy import artefact

    folder = saved(tmp_path / "model")
    (tmp_path / "outside.bin").write_bytes(b"x")

    def poison(manifest):
        manifest["files"][name] = "0" * 64
        manifest["digest"] = artefact._digest(manifest)

    with pytest.raises(ArtefactError, match="absent or not a plain file"):
        load_artefact(tampered(folder, poison))


def test_t27_symlink_is_refused(tmp_path):
    folder = saved(tmp_path / "model")
    target = tmp_path / "elsewhere.safetensors"
    (folder / WEIGHTS).rename(target)
    (folder / WEIGHTS).symlink_to(target)
    with pytest.raises(ArtefactError, match="not a plain file"):
        load_artefact(folder)


def test_t28_one_flipped_bit_anywhere_is_refused(tmp_path):
    folder = saved(tmp_path / "model")
    rng = np.random.default_rng(0)
    files = sorted(folder.iterdir())
    for _ in range(1000):
        path = files[rng.integers(len(files))]
        original = path.read_bytes()
        content = bytearray(original)
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(ArtefactError):
            load_artefact(folder)
        path.write_bytes(original)
    load_artefact(folder)


def test_t29_newer_format_names_both(tmp_path):
    folder = saved(tmp_path / "model")
    with pytest.raises(ArtefactError, match="format 99, this omnifuse reads format 1"):
        load_artefact(tampered(folder, lambda manifest: manifest.update(format=99)))


def test_no_model_says_where_it_looked(tmp_path):
    with pytest.raises(ArtefactError, match="no model in"):
        load_artefact(tmp_path)
