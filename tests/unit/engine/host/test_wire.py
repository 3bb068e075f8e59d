from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue import demo, z_image_turbo
from engine.contract import Lane, Recipe
from engine.host import wire
from engine.spec import Lora, ModelSpec

NUMBERS = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters())  # lone surrogates too
RECIPES = st.builds(
    Recipe, TEXT, TEXT, TEXT, TEXT, NUMBERS, NUMBERS, NUMBERS, st.floats(allow_nan=False, allow_infinity=False), NUMBERS
)
TICKETS = st.lists(NUMBERS).map(tuple)
SECONDS, PAYLOAD, NOTES = st.floats(0, 1e6), st.binary(max_size=99), st.lists(TEXT, max_size=3).map(tuple)
MODELS = (
    (ModelSpec(demo()),),
    (ModelSpec(z_image_turbo(), "base", "a.gguf", (Lora("b.safetensors", 0.5),), "c0ffee"), ModelSpec(demo())),
)
MESSAGES = st.one_of(
    st.builds(wire.Setup, st.sampled_from(MODELS), TEXT, TEXT, TEXT, st.floats(0, 1e6), TEXT, TEXT),
    st.lists(RECIPES, max_size=3).flatmap(
        lambda rs: st.builds(wire.Paint, st.sampled_from(Lane), st.just(tuple(range(len(rs)))), st.just(tuple(rs)))
    ),
    st.builds(wire.Drop, TICKETS),
    st.builds(wire.Downloading, NUMBERS, NUMBERS),
    st.builds(wire.SetPreview, NUMBERS, st.booleans()),
    st.builds(wire.Warming, TEXT, TEXT),
    st.builds(wire.Warm, TEXT, TEXT, TEXT, TEXT, NUMBERS, SECONDS, NUMBERS, SECONDS),
    st.builds(wire.Idle, NUMBERS),
    st.just(wire.Heartbeat()),
    st.builds(wire.Broken, TEXT, TEXT, st.booleans()),
    st.builds(wire.StepDone, TICKETS, TICKETS, TICKETS, st.floats(0, 1e6)),
    st.builds(wire.PreviewReady, NUMBERS, TEXT, st.binary(max_size=99)),
    st.builds(
        wire.ImageReady,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        SECONDS,
        TEXT,
        TEXT,
        NOTES,
        NUMBERS,
        SECONDS,
        SECONDS,
        NUMBERS,
        TEXT,
        PAYLOAD,
        TEXT,
    ),
    st.builds(wire.RecipeFailed, NUMBERS, TEXT, TEXT),
)


@given(MESSAGES)
def test_what_is_said_is_what_is_heard(message: wire.Message) -> None:
    frame = wire.encode(message)
    header, payload = wire.lengths(frame[: wire.HEAD.size])
    body = frame[wire.HEAD.size :]
    assert len(body) == header + payload
    assert wire.decode(body[:header], body[header:]) == message


def test_a_picture_does_not_pass_through_json() -> None:
    data = bytes(range(256)) * 99
    frame = wire.encode(wire.PreviewReady(1, "image/png", data))
    assert frame.endswith(data)
    assert len(frame) < len(data) + 300


@given(st.binary(min_size=8, max_size=8))
def test_lengths_are_believed_within_reason_alone(head: bytes) -> None:
    try:
        header, payload = wire.lengths(head)
    except wire.WireError:
        return
    assert 0 < header <= wire.MAX_HEADER
    assert 0 <= payload <= wire.MAX_PAYLOAD


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b'{"kind": "Warm"}', b'{"kind": "Drop", "tickets": 5}']))
def test_anything_else_is_refused(header: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(header, b"")
