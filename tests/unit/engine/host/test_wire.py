from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import EngineConfig, Image, Lane, LoraInfo, LoraRequest, Preview, Recipe
from engine.families.z_image.spec import demo, z_image_turbo
from engine.host import wire
from engine.host.frames import HEAD, WireError, lengths
from engine.spec import Lora, LoraSpec, ModelSpec

NUMBERS = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters())  # lone surrogates too
RECIPES = st.builds(
    Recipe,
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.floats(allow_nan=False, allow_infinity=False),
    NUMBERS,
    loras=st.lists(st.builds(LoraRequest, TEXT, st.floats(-2, 2)), max_size=2).map(tuple),
)
TICKETS = st.lists(NUMBERS).map(tuple)
SECONDS, PAYLOAD, NOTES = st.floats(0, 1e6), st.binary(max_size=99), st.lists(TEXT, max_size=3).map(tuple)
IMAGES = st.builds(
    Image,
    TEXT,
    PAYLOAD,
    TEXT,
    width=NUMBERS,
    height=NUMBERS,
    seconds=SECONDS,
    precision=TEXT,
    revision=TEXT,
    notes=NOTES,
    device=TEXT,
    setup=TEXT,
)
MODELS = (
    (ModelSpec(demo()),),
    (ModelSpec(z_image_turbo(), "base", "a.gguf", (Lora("b.safetensors", 0.5),), "c0ffee"), ModelSpec(demo())),
)
CONFIGS = st.builds(EngineConfig, TEXT, TEXT, TEXT, TEXT, TEXT, SECONDS, TEXT, TEXT, NUMBERS, TEXT)
LORAS = st.lists(
    st.builds(LoraSpec, st.builds(LoraInfo, TEXT, TEXT, st.lists(TEXT, max_size=2).map(tuple), TEXT), TEXT), max_size=2
).map(tuple)
MESSAGES = st.one_of(
    st.builds(wire.Setup, st.sampled_from(MODELS), CONFIGS, LORAS),
    st.lists(RECIPES, max_size=3).flatmap(
        lambda rs: st.builds(wire.Draw, st.sampled_from(Lane), st.just(tuple(range(len(rs)))), st.just(tuple(rs)))
    ),
    st.builds(wire.Drop, TICKETS),
    st.builds(wire.Downloading, NUMBERS, NUMBERS),
    st.builds(wire.SetPreview, NUMBERS, st.booleans()),
    st.builds(wire.Warming, TEXT, TEXT),
    st.builds(wire.Warm, TEXT, TEXT, TEXT, TEXT, NUMBERS, SECONDS, NUMBERS, SECONDS),
    st.builds(wire.Idle, NUMBERS),
    st.builds(wire.StepSize, TEXT, NUMBERS, NUMBERS, NUMBERS),
    st.builds(wire.Resident, st.tuples(TEXT, TEXT)),
    st.just(wire.Heartbeat()),
    st.builds(wire.Broken, TEXT, TEXT, st.booleans()),
    st.builds(wire.StepDone, TICKETS, TICKETS, TICKETS, st.floats(0, 1e6)),
    st.builds(wire.PreviewReady, NUMBERS, st.builds(Preview, TEXT, PAYLOAD, TEXT)),
    st.builds(wire.ImageReady, NUMBERS, IMAGES, NUMBERS, SECONDS, SECONDS, NUMBERS),
    st.builds(wire.RequestFailed, NUMBERS, TEXT, TEXT),
)


@given(MESSAGES)
def test_what_is_sent_is_what_is_received(message: wire.Message) -> None:
    frame = wire.CODEC.encode(message)
    header, payload = lengths(frame[: HEAD.size])
    body = frame[HEAD.size :]
    assert len(body) == header + payload
    assert wire.CODEC.decode(body[:header], body[header:]) == message


@given(
    st.binary(max_size=60)
    | st.sampled_from(
        [
            b"[]",
            b"{}",
            b'{"kind": "Warm"}',
            b'{"kind": "Drop", "tickets": 5}',
            b'{"kind": "Drop", "tickets": ["5"]}',
            b'{"kind": "Idle", "memory": 5, "more": 6}',
            b'{"kind": "ImageReady", "image": 5}',
            b"[" * 100_000,
        ]
    )
)
def test_anything_else_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        wire.CODEC.decode(header, b"")
