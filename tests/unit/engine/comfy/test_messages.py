"""Messages of a server: what they say, and that nothing that one may send raises."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.comfy import messages
from engine.comfy.messages import (
    Ended,
    Erred,
    Executed,
    Interrupted,
    Message,
    OutputFile,
    PreviewPicture,
    Progress,
    Started,
    Succeeded,
)

FILE = {"filename": "a.png", "subfolder": "b", "type": "temp"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def said(kind: str, **data: Any) -> Message | None:
    return messages.read_text(json.dumps({"type": kind, "data": {"prompt_id": "p", **data}}))


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        ("execution_start", {}, Started("p")),
        ("progress", {"value": 3, "max": 4}, Progress("p", 0.75)),
        ("progress", {"value": 9, "max": 4}, Progress("p", 1.0)),
        ("progress", {"value": -1, "max": 4}, Progress("p", 0.0)),
        ("progress", {"value": 1, "max": 1}, None),
        ("progress", {"value": "1", "max": 4}, None),
        ("progress", {"value": 1, "max": 10**400}, None),
        ("progress_state", {"nodes": {"1": {"value": 1, "max": 1}, "2": {"value": 1, "max": 2}}}, Progress("p", 0.5)),
        ("progress_state", {"nodes": []}, None),
        ("executed", {"output": {"images": [FILE]}}, Executed("p", (OutputFile("a.png", "b", "temp"),))),
        ("executed", {"output": {"images": [FILE] * 99}}, Executed("p", (OutputFile("a.png", "b", "temp"),) * 16)),
        (
            "executed",
            {"output": {"images": [5, {}, {**FILE, "type": "etc"}, {**FILE, "filename": ""}]}},
            Executed("p", ()),
        ),
        ("executed", {"output": None}, Executed("p", ())),
        ("execution_success", {}, Succeeded("p")),
        ("execution_interrupted", {}, Interrupted("p")),
        ("executing", {"node": None}, Ended("p")),
        ("executing", {"node": "3"}, None),
        ("executing", {}, None),
        ("execution_cached", {"nodes": []}, None),
        ("status", {}, None),
    ],
)
def test_each_kind_of_message(kind: str, data: Any, found: Message | None) -> None:
    assert said(kind, **data) == found


def test_an_error_has_one_line_for_logs_and_tells_whether_memory_was_short() -> None:
    found = said(
        "execution_error", exception_type="ValueError", exception_message="\nno\x1b[31m way\nand more" + "x" * 999
    )
    assert found == Erred("p", "ValueError", "no[31m way")
    assert not Erred("p", "ValueError", "no").out_of_memory
    assert Erred("p", "torch.OutOfMemoryError", "Allocation failed").out_of_memory
    assert Erred("p", "RuntimeError", "CUDA error: out of memory").out_of_memory
    assert said("execution_error") == Erred("p", "", "")


def test_a_preview_names_its_prompt_where_the_server_does() -> None:
    assert messages.read_binary(struct.pack(">II", 1, 2) + b"png") == PreviewPicture("", b"png", "image/png")
    about = json.dumps({"prompt_id": "p", "image_type": "image/jpeg"}).encode()
    with_metadata = struct.pack(">II", 4, len(about)) + about + b"jpeg"
    assert messages.read_binary(with_metadata) == PreviewPicture("p", b"jpeg", "image/jpeg")
    for data in (
        b"",
        b"short",
        struct.pack(">II", 3, 1) + b"text",
        struct.pack(">II", 4, 2**31) + about,
        with_metadata[:9],
    ):
        assert messages.read_binary(data) is None


def test_an_entry_of_the_history_says_how_a_prompt_ended() -> None:
    entry = {
        "outputs": {"9": {"images": [FILE]}},
        "status": {"messages": [["execution_start", {}], ["execution_success", {"prompt_id": "p"}], "?"]},
    }
    file = OutputFile("a.png", "b", "temp")
    assert messages.read_history(entry, "p") == (Executed("p", (file,)), Succeeded("p"), Ended("p"))
    assert messages.read_history({}, "p") == (Ended("p"),)
    assert messages.read_history(None, "p") == ()


def test_long_texts_are_passed_over() -> None:
    assert messages.read_text(json.dumps({"type": "execution_start", "data": {"prompt_id": "p" * 2**20}})) is None
    assert messages.read_text("[" * 100_000) is None


@given(
    st.text()
    | JSON.map(json.dumps)
    | st.builds(
        lambda t, d: json.dumps({"type": t, "data": {"prompt_id": "p", "nodes": d, "output": d, "value": d, "max": d}}),
        st.sampled_from(["progress", "progress_state", "executed", "executing", "execution_error"]),
        JSON,
    )
)
def test_no_text_raises(text: str) -> None:
    messages.read_text(text)


@given(st.binary() | st.binary().map(lambda data: struct.pack(">II", 4, 2) + data))
def test_no_bytes_raise(data: bytes) -> None:
    messages.read_binary(data)


@given(JSON | st.fixed_dictionaries({"outputs": JSON, "status": st.fixed_dictionaries({"messages": JSON})}))
def test_no_history_raises(entry: object) -> None:
    messages.read_history(entry, "p")
