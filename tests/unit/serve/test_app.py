"""The routes, through a real server."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from tests.serving import FakeAnswerer, base64_of, picture, running, until


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


def test_rows_are_answered_in_order_with_the_models_id(server):
    answer = server.predict({"note": "red"}, {"size": 3}, {"note": "blue", "key": "k7"})
    assert answer.status == 200
    found = answer.json["predictions"]
    assert [row["targets"]["kind"]["value"] for row in found] == ["red", "blue", "blue"]
    assert [row["row_id"] for row in found] == [0, 1, "k7"]
    assert {row["model_id"] for row in found} == {"fake00000001"}
    assert "probabilities" not in found[0]["targets"]["kind"]


def test_probabilities_come_on_demand(server):
    found = server.predict({"note": "red"}, proba=True).json["predictions"][0]["targets"]["kind"]
    assert found["probabilities"] == pytest.approx({"blue": 0.1, "red": 0.9})


def test_media_come_as_base64_bare_or_in_an_object(server):
    text = base64_of(picture())
    answer = server.predict({"photo": {"base64": text}}, {"photo": text}, {"photo": text[:20] + "\n" + text[20:]})
    assert [row["warnings"] for row in answer.json["predictions"]] == [[], [], []]
    assert all(row["modalities_used"] == ["photo"] for row in answer.json["predictions"])


def test_a_path_in_a_media_field_is_refused_and_the_row_answered(server, tmp_path):
    path = tmp_path / "inside.png"
    path.write_bytes(picture())
    for value in (str(path), f"file://{path}", {"path": str(path)}, {"url": "http://127.0.0.1/x"}, [str(path)]):
        (row,) = server.predict({"photo": value, "note": "red"}).json["predictions"]
        assert row["warnings"][0].startswith("photo: ")
        assert "base64" in row["warnings"][0]
        assert row["modalities_used"] == ["note"]
        assert server.answerer.decoded[-1]["photo"] is None


def test_unknown_fields_are_named_with_the_nearest(server):
    answer = server.predict({"note": "red"}, {"photos": "x"})
    assert answer.status == 422
    assert answer.json["error"].startswith("unknown field 'photos'. row 2. did you mean 'photo'?")


def test_targets_and_dropped_columns_of_the_training_table_are_left_out(server):
    answer = server.predict({"note": "red", "kind": "blue", "old": 1})
    assert answer.status == 200
    assert server.answerer.decoded[-1] == {"note": "red"}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "the body is not JSON"),
        (b'{"rows": [{"size": NaN}]}', 400, "NaN is not JSON"),
        (b"\xff{}", 400, "not UTF-8"),
        (b"[]", 422, "the body has no 'rows'"),
        (b'{"rows": 1000000000}', 422, "'rows' is not a list"),
        (b'{"rows": []}', 422, "'rows' is empty"),
        (b'{"rows": [1]}', 422, "row 1 is not an object"),
        (b'{"rows": [{}], "n": 2}', 422, "unknown key 'n'"),
        (b'{"rows": [{}], "proba": 1}', 422, "'proba' is neither true nor false"),
        (b'{"rows": [{"note": 1, "note": 2}]}', 400, "the key 'note' stands twice"),
        (b'{"rows": [{}], "history": [{"note": "x"}]}', 422, "the model reads no history"),
    ],
)
def test_what_is_wrong_is_said(server, body, status, words):
    answer = server.send("POST", "/predict", body, {"content-type": "application/json"})
    assert answer.status == status
    assert words in answer.json["error"]


def test_other_content_types_are_refused(server):
    answer = server.send("POST", "/predict", b"a,b", {"content-type": "text/csv"})
    assert answer.status == 415


def test_an_empty_row_is_answered_with_every_field_missing(server):
    assert server.predict({}).json["predictions"][0]["modalities_used"] == []


def multipart(*parts):
    lines = []
    for name, value in parts:
        is_file = isinstance(value, bytes)
        lines.append(b'--X\r\nContent-Disposition: form-data; name="' + name.encode() + b'"')
        lines[-1] += b'; filename="f"' * is_file + b"\r\n\r\n" + (value if is_file else value.encode()) + b"\r\n"
    return b"".join(lines) + b"--X--\r\n"


def test_multipart_files_make_rows(server):
    body = multipart(("note", "red"), ("photo", picture()), ("1.note", "blue"), ("1.photo", b"no picture"))
    answer = server.send("POST", "/predict", body, {"content-type": "multipart/form-data; boundary=X"})
    first, second = answer.json["predictions"]
    assert first["modalities_used"] == ["note", "photo"]
    assert first["targets"]["kind"]["value"] == "red"
    assert second["warnings"][0].startswith("photo: The content is not PNG")
    rows = json.dumps([{"note": "red"}, {"note": "red"}])
    body = multipart(("rows", rows), ("1.photo", picture()), ("proba", "true"))
    answer = server.send("POST", "/predict", body, {"content-type": "multipart/form-data; boundary=X"})
    assert [row["modalities_used"] for row in answer.json["predictions"]] == [["note"], ["note", "photo"]]
    assert "probabilities" in answer.json["predictions"][0]["targets"]["kind"]


def test_embeddings(server):
    answer = server.send("POST", "/embed", {"rows": [{"note": "red"}, {}]})
    assert answer.json["embeddings"][1] == {
        "row_id": 1, "embedding": [1.0, 0.0], "embedding_photo": None, "model_id": "fake00000001", "warnings": []
    }  # fmt: skip


def test_explanations(server):
    answer = server.send("POST", "/explain", {"rows": [{"note": "red", "key": "k7"}]})
    assert answer.status == 200
    (found,) = answer.json["explanations"]
    assert (found["row_id"], found["model_id"], found["warnings"]) == ("k7", "fake00000001", [])
    assert found["answers"][0]["shares"][0]["effect"] == 1.5
    assert set(found["answers"][0]["parts"]) == {"note"}
    short = server.send("POST", "/explain", {"rows": [{"note": "red"}], "parts": False}).json["explanations"]
    assert short[0]["answers"][0]["parts"] == {}


def test_explanations_are_bounded(server):
    answer = server.send("POST", "/explain", {"rows": [{}] * 5})
    assert (answer.status, answer.json["error"]) == (413, "5 rows in one request, at most 4. Send several requests.")
    answer = server.send("POST", "/explain", {"rows": [{}], "proba": True})
    assert (answer.status, answer.json["error"]) == (
        422,
        "unknown key 'proba' beside 'rows'. Known: rows, history, parts.",
    )
    assert server.send("POST", "/explain", {"rows": [{}], "parts": 1}).status == 422
    assert server.send("POST", "/predict", {"rows": [{}], "parts": True}).status == 422
    body = server.send("GET", "/openapi.json").json["paths"]["/explain"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["properties"]["rows"]["maxItems"] == 4


def test_the_example_of_the_description_works_as_it_stands(server):
    document = server.send("GET", "/openapi.json").json
    for path in ("/predict", "/embed", "/explain"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        answer = server.send("POST", path, example)
        assert answer.status == 200
        (row,) = next(iter(answer.json.values()))
        assert row["warnings"] == []
        assert "error" not in row
    row = document["components"]["schemas"]["Row"]
    assert set(row["properties"]) == {"note", "size", "photo", "sound", "pulse", "clip", "key"}
    assert row["additionalProperties"] is False
    assert server.send("GET", "/schema").json["example"] == example


def test_health_and_metrics(server):
    assert server.send("GET", "/health/live").json == {"status": "ok"}
    assert server.send("GET", "/health/ready").json == {"status": "ok", "model_id": "fake00000001"}
    before = server.metric("omnifuse_rows_total")
    server.predict({}, {})
    assert server.metric("omnifuse_rows_total") == before + 2
    text = server.send("GET", "/metrics").body.decode()
    for name in ("request_seconds", "decode_seconds", "forward_seconds", "batch_rows", "queue_rows", "errors_total"):
        assert f"omnifuse_{name}" in text
    assert 'omnifuse_model_info{model_id="fake00000001"} 1.0' in text
    until(lambda: b'omnifuse_requests_total{route="/predict",status="200"}' in server.send("GET", "/metrics").body)


def test_unknown_routes_and_methods(server):
    assert server.send("GET", "/predict").status == 405
    assert server.send("GET", "/explanation").status == 404
    assert server.send("GET", "/docs").status == 404
    until(lambda: b'route="other",status="404"' in server.send("GET", "/metrics").body)


def test_the_page_and_its_files_come_with_a_policy(server):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css"),
                       ("/icon.svg", "image/svg+xml")):  # fmt: skip
        answer = server.send("GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_each_answer_is_a_line_of_the_log_without_what_rows_hold(server, caplog):
    def lines():
        return [record.facts for record in caplog.records if record.getMessage() == "request"]

    with caplog.at_level("INFO", logger="omnifuse.serve"):
        server.predict({"note": "a secret of red"})
        until(lambda: any(facts["route"] == "/predict" for facts in lines()))
    assert [facts["status"] for facts in lines() if facts["route"] == "/predict"] == [200]
    assert "secret" not in str([record.__dict__ for record in caplog.records])


def test_requests_that_are_being_answered_end_before_the_server():
    answerer = FakeAnswerer(gate=threading.Event())
    with ThreadPoolExecutor(1) as pool, running(answerer, shutdown_s=20.0) as server:
        asked = pool.submit(server.predict, {"note": "gate"})
        until(lambda: answerer.batches)
        server.server.should_exit = True
        until(lambda: not server.server.servers[0].is_serving())
        answerer.gate.set()
        assert asked.result(20).status == 200
