"""XMP packets: what is written is read back, by Easel and by Pillow; hostile packets do nothing."""

from __future__ import annotations

import io
import uuid
from datetime import UTC, datetime
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.core.inspection import TRAINED
from bot.provenance import xmp
from bot.provenance.facts import Facts
from bot.provenance.marks import mark_png
from bot.provenance.xmp import MAX_BYTES, packet, read

ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
XML_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1)


def facts_with(prompt: str = "", *, credit: str = "", producer: str = "") -> Facts:
    created = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
    return Facts(
        TRAINED, "Z-Image-Turbo", "0123456789", created, ID, prompt=prompt, credit=credit, aigc_producer=producer
    )


@given(XML_TEXT.filter(lambda text: text == text.strip()))
def test_any_prompt_is_read_back(prompt: str) -> None:
    found = read(packet(facts_with(prompt)))
    assert found["Iptc4xmpExt:AIPromptInformation"] == (prompt,)
    assert found["Iptc4xmpExt:DigitalSourceType"] == (TRAINED,)


@given(st.text(max_size=50))
def test_what_xml_forbids_is_left_out(prompt: str) -> None:
    assert read(packet(facts_with(prompt, credit="Club")))["photoshop:Credit"] == ("Club",)


def test_all_properties() -> None:
    assert read(packet(facts_with("a <b> & c", credit="The Club", producer="P1"))) == {
        "Iptc4xmpExt:DigitalSourceType": (TRAINED,),
        "Iptc4xmpExt:AISystemUsed": ("Z-Image-Turbo",),
        "Iptc4xmpExt:AISystemVersionUsed": ("0123456789",),
        "Iptc4xmpExt:AIPromptInformation": ("a <b> & c",),
        "xmp:CreatorTool": read(packet(facts_with()))["xmp:CreatorTool"],
        "xmp:CreateDate": ("2026-11-23T21:00:00Z",),
        "xmpMM:DocumentID": (f"urn:uuid:{ID}",),
        "xmpMM:InstanceID": (f"urn:uuid:{ID}",),
        "photoshop:Credit": ("The Club",),
        "TC260:AIGC": (
            '{"Label":"1","ContentProducer":"P1","ProduceID":"' + str(ID) + '","ReservedCode1":"",'
            '"ContentPropagator":"","PropagateID":"","ReservedCode2":""}',
        ),
    }


def test_pillow_reads_the_packet_of_a_png() -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    with Image.open(io.BytesIO(mark_png(out.getvalue(), facts_with("猫")))) as opened:
        found = opened.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert (found["DigitalSourceType"], found["AIPromptInformation"]) == (TRAINED, "猫")


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>'
)
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


@pytest.mark.parametrize(
    "data", [b"", b"<", LAUGHS, OUTSIDE, b"<a>" * 50_000, b"x" * (MAX_BYTES + 1), b"\xff\xfe<\0a\0", b"<a/>"]
)
def test_hostile_packets_say_nothing(data: bytes) -> None:
    assert read(data) == {}


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_packet_never_fails(at: int, value: int) -> None:
    damaged = bytearray(packet(facts_with("a cat", producer="P1")))
    damaged[at % len(damaged)] = value
    read(bytes(damaged))


def test_properties_as_attributes_lists_and_twice() -> None:
    data = (
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
        b' xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:t="http://www.tc260.org.cn/ns/AIGC/1.0/">'
        b'<rdf:Description i:AISystemUsed="Other"><i:DigitalSourceType rdf:resource="x"/>'
        b"<i:AIPromptInformation><rdf:Alt><rdf:li>a</rdf:li><rdf:li>b</rdf:li></rdf:Alt></i:AIPromptInformation>"
        b"<t:AIGC>1</t:AIGC><t:AIGC>2</t:AIGC></rdf:Description></rdf:RDF>"
    )
    assert read(data) == {
        "Iptc4xmpExt:AISystemUsed": ("Other",),
        "Iptc4xmpExt:DigitalSourceType": ("x",),
        "Iptc4xmpExt:AIPromptInformation": ("a, b",),
        "TC260:AIGC": ("1", "2"),
    }


def test_descriptions_inside_of_values_are_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read_values: list[str] = []
    value_of = xmp._value

    def count(element: Element) -> str:
        read_values.append(element.tag)
        return value_of(element)

    monkeypatch.setattr(xmp, "_value", count)
    inside = b"<r:Description>" * 500 + b"</r:Description>" * 500
    head = b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:p="http://ns.adobe.com/photoshop/1.0/">'
    data = head + b"<r:Description><p:Credit>Club</p:Credit>" + inside + b"</r:Description></r:RDF>"
    assert read(data) == {"photoshop:Credit": ("Club",)}
    # Each would search the ones below it: in quadratic time.
    assert len(read_values) == 2
