"""China's label: seven keys, all texts, and what is wrong with labels of others."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.provenance.aigc import KEYS, faults, label
from bot.settings import Settings

ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def test_the_label_has_seven_keys_and_no_faults() -> None:
    text = label("00191320114777777777700000", ID)
    found = json.loads(text)
    # As annex E of TC260-PG-20259A has them.
    assert " ".join(found) == (
        "Label ContentProducer ProduceID ReservedCode1 ContentPropagator PropagateID ReservedCode2"
    )
    assert tuple(found) == KEYS
    assert (found["Label"], found["ProduceID"]) == ("1", str(ID))
    assert faults(text) == ()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"Label": 1}, "type"),
        ({"Label": "4"}, "label"),
        ({"ContentProducer": "a b"}, "characters"),
        ({"ContentProducer": "生成"}, "characters"),
        ({"ContentProducer": ""}, "producer"),
        ({"More": ""}, "unknown"),
    ],
)
def test_a_fault_is_named(change: dict[str, object], fault: str) -> None:
    assert fault in faults(json.dumps(json.loads(label("a", ID)) | change))


def test_a_missing_key_is_named() -> None:
    found = json.loads(label("a", ID))
    del found["PropagateID"]
    assert faults(json.dumps(found)) == ("missing",)


@given(st.text(max_size=200) | st.just("[" * 300) | st.just("1e999") | st.just("x" * 10_000))
def test_hostile_labels_have_faults(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize("producer", ["my studio", "工作室", "a" * 101, "a\tb"])
def test_a_producer_that_no_label_may_have_is_refused_at_start(producer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_PROVENANCE_AIGC_PRODUCER", producer)
    with pytest.raises(ValidationError):
        Settings.load(None)
