"""JSON and JSON Lines: turns where there are turns, readable text elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lcdoc.documents import Document, load_document
from lcdoc.errors import DocumentError


def load(write: Callable[..., str], value: Any) -> Document:
    return load_document(write("a.json", json.dumps(value, ensure_ascii=False).encode()))


def test_meeting_is_read_by_turns(docs: Path) -> None:
    document = load_document(str(docs / "qmsum-Bmr016.json"))
    assert (document.format, document.unit) == ("transcript", "turns")
    assert document.pages[0].label == "turns 1-18"
    assert document.pages[-1].label == "turns 1460-1473"
    assert document.pages[0].text.startswith("Grad D: And we already got the crash out of the way .")
    assert document.pages[-1].text.endswith("\nGrad D: Oop ! Man !")
    assert "\n".join(page.text for page in document.pages).count("\n") + 1 == 1473
    assert document.warnings == (
        "only the turns are read; left out: topic_list, general_query_list, specific_query_list",
    )


def test_chat_messages_and_their_parts(write: Callable[..., str]) -> None:
    chat = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "search", "query": "weather"}]},
    ]
    document = load(write, {"messages": chat})
    assert document.pages[0].text == (
        "user: Hello\nassistant: Hi\nthere\nassistant: tool_calls:\n  -\n    name: search\n    query: weather"
    )


def test_speech_recognition_keeps_times(write: Callable[..., str]) -> None:
    segments = [
        {"start": 0.0, "end": 4.2, "text": " Good morning."},
        {"start": 3725.5, "text": "Bye.", "speaker": "B"},
    ]
    document = load(write, {"language": "en", "segments": segments})
    assert document.pages[0].text == "[0:00:00] Good morning.\n[1:02:05] B: Bye."
    assert document.warnings == ("only the turns are read; left out: language",)


def test_json_lines(write: Callable[..., str]) -> None:
    lines = b'{"speaker": "A", "text": "One."}\n\n{"speaker": "B", "text": "Two."}\n'
    assert load_document(write("a.jsonl", lines)).pages[0].text == "A: One.\nB: Two."


def test_other_json_is_shown_as_readable_text(write: Callable[..., str]) -> None:
    document = load(write, {"name": "Größe", "sizes": [1, 2.5, {"ok": True, "none": None}], "empty": []})
    assert (document.format, document.unit) == ("text", "section")
    assert [(page.label, page.text) for page in document.pages] == [
        ("name", "name: Größe"),
        ("sizes", "sizes:\n  - 1\n  - 2.5\n  -\n    ok: true\n    none: null"),
        ("empty", "empty: (empty)"),
    ]


def test_records_are_grouped(write: Callable[..., str]) -> None:
    document = load(write, [{"id": number, "note": "x" * 700} for number in range(5)])
    assert [page.label for page in document.pages] == ["records 1-2", "records 3-4", "record 5"]


def test_what_is_no_json_is_read_as_text(write: Callable[..., str]) -> None:
    document = load_document(write("a.json", b'{"a": 1,\n"b": }'))
    assert document.pages[0].text == '{"a": 1,\n"b": }'
    assert document.warnings == ("not valid JSON (line 2: Expecting value), read as plain text",)


@pytest.mark.parametrize("depth", [300, 200_000])
def test_deep_nesting_is_refused(write: Callable[..., str], depth: int) -> None:
    with pytest.raises(DocumentError, match="JSON nested deeper than the limit of 200 levels"):
        load_document(write("deep.json", b"[" * depth + b"]" * depth))
