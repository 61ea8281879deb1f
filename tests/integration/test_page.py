"""The page of a real server in headless Chromium: filled in, answered, looked at."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from tests.chromium import CHROMIUM, opened
from tests.serving import SCHEMA, FakeAnswerer, base64_of, picture, running

from omnifuse.schema import Field, Modality

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
FULL = replace(SCHEMA, fields=(*SCHEMA.fields, Field("colour", Modality.CATEGORY), Field("day", Modality.DATE)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with (
        running(FakeAnswerer(schema=FULL), request_s=60.0) as server,
        opened(f"http://127.0.0.1:{server.port}/", tmp_path_factory.mktemp("profile")) as found,
    ):
        found.server = server
        found.until("document.querySelectorAll('.field').length")
        yield found


@pytest.fixture(autouse=True)
def _cleared(page):
    page.js("document.getElementById('clear').click()")


def focus(page, name):
    page.js(f"document.getElementById('field-{name}').focus()")


def test_words_and_a_number_are_answered_and_seen(page, tmp_path):
    focus(page, "note")
    page.type("a red brick house")
    focus(page, "size")
    page.type("3.5")
    page.js("document.querySelector('button.main').click()")
    page.until("document.querySelector('.value')?.textContent === 'red'")
    page.until("document.querySelectorAll('#answer h3').length >= 3")
    text = page.js("document.getElementById('answer').innerText")
    for words in (
        "kind",
        "Confidence",
        "90%",
        "Other classes",
        "blue",
        "What carried",
        "100% for",
        "Model fake00000001",
    ):
        assert words in text
    assert page.server.answerer.decoded[-1] == {"note": "a red brick house", "size": "3.5"}
    for name, dark, width in (("light", False, 1100), ("dark", True, 1100), ("narrow", False, 420)):
        path = tmp_path / f"{name}.png"
        page.screenshot(path, dark=dark, width=width)
        assert path.stat().st_size > 10_000
        assert page.js("document.documentElement.scrollWidth <= innerWidth")


def test_the_form_fits_the_fields(page):
    shapes = page.js("Object.fromEntries([...document.querySelectorAll('[id^=field-]')].map("
                     "(node) => [node.id.slice(6), node.type ?? node.tagName]))")  # fmt: skip
    assert shapes == {"note": "textarea", "size": "number", "photo": "file", "sound": "file", "pulse": "textarea",
                      "clip": "file", "colour": "select-one", "day": "datetime-local", "key": "text"}  # fmt: skip
    values = page.js("[...document.getElementById('field-colour').options].map((option) => option.value)")
    assert values == ["", "green", "gold"]
    assert page.js("document.getElementById('field-size').placeholder") == "such as 1.5"
    # Who it is stands under "more", which is closed
    assert page.js("document.getElementById('field-key').closest('details').open") is False


def test_the_keyboard_is_enough(page):
    focus(page, "note")
    page.type("red")
    page.press("Enter", code=13, modifiers=2)
    page.until("document.querySelector('.value')?.textContent === 'red'")
    page.js("document.getElementById('clear').click()")
    focus(page, "size")
    page.type("2")
    page.press("Enter", code=13)
    page.until("document.querySelector('.value')?.textContent === 'blue'")


def test_a_dropped_picture_is_shown_sent_and_removed(page):
    code = """(() => {{
      const bytes = Uint8Array.from(atob({content}), (letter) => letter.charCodeAt(0));
      const files = new DataTransfer();
      files.items.add(new File([bytes], {name}, {{ type: "image/png" }}));
      const zone = document.getElementById("field-photo").closest(".drop");
      zone.dispatchEvent(new DragEvent("drop", {{ dataTransfer: files, bubbles: true, cancelable: true }}));
    }})()"""
    page.js(code.format(content=json.dumps(base64_of(picture())), name='"room.png"'))
    page.until("document.querySelector('#field-photo').closest('.drop').querySelector('img')?.naturalWidth === 8")
    page.js("document.querySelector('button.main').click()")
    page.until("document.getElementById('answer').innerText.includes('Read: photo')")
    page.js("document.querySelector('.drop button').click()")
    assert page.js("document.querySelectorAll('.preview').length") == 0
    # What is no picture is said beside its field
    page.js(code.format(content=json.dumps(base64_of(b"no picture at all")), name='"broken.png"'))
    page.until("document.querySelector('.drop button')")
    page.js("document.querySelector('button.main').click()")
    page.until("document.querySelector('#field-photo').closest('.field').querySelector('.wrong')")
    assert page.js("document.getElementById('field-photo').getAttribute('aria-invalid')") == "true"


def test_an_example_fills_the_form_and_nothing_is_asked_of_others(page):
    page.js("document.getElementById('example').click()")
    page.until("document.querySelectorAll('.preview').length >= 4")
    page.js("document.querySelector('button.main').click()")
    page.until("document.querySelector('.value')")
    home = f"http://127.0.0.1:{page.server.port}/"
    # The browser draws its own parts from data addresses, which ask nobody
    assert all(url.startswith((home, f"blob:{home}", "data:")) for url in page.requests)
    assert page.complaints == []
