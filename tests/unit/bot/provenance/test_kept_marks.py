"""Marks of uploads: an AIGC label and a manifest survive, places and pictures do not, and hostile ones cost nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from bot.core.file_marks import XMP, embed_texts, exif_block
from bot.core.inspection import COMPOSITE, TRAINED
from bot.core.requests import DrawRequest
from bot.provenance.facts import MarkingRules
from bot.provenance.inspection import inspect
from bot.provenance.kept_marks import found_label, keep_marks
from bot.provenance.marks import Marker
from bot.provenance.xmp import label_packet
from engine.contract import Image, Recipe
from tests.unit.bot.provenance.marked_files import facts, marked

LABEL = json.dumps(
    {
        "Label": "1", "ContentProducer": "001191110000123456789012345", "ProduceID": "abc-1", "ReservedCode1": "",
        "ContentPropagator": "", "PropagateID": "", "ReservedCode2": "",
    },
    separators=(",", ":"),
)  # fmt: skip
REQUEST = DrawRequest("a cat", "a cat", "", 48, 32, 4, 1.0, 7, 1, "demo", image="inputs/a.png")


def plain(kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Pillow.radial_gradient("L").resize((48, 32)).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def uploads(label: str) -> dict[str, bytes]:
    """Files with this label, in each of the forms in use."""
    info = PngInfo()
    info.add_text("AIGC", json.dumps({"AIGC": json.loads(label)}))
    return {
        "PNG": embed_texts(plain(), {XMP: label_packet(label).decode()}),
        "JPEG": plain("JPEG", xmp=label_packet(label)),
        "WEBP": plain("WEBP", xmp=label_packet(label)),
        "a text chunk": plain(pnginfo=info),
        "Exif": plain("JPEG", exif=exif_block('{"AIGC":' + label + "}")),
    }


def test_a_label_is_found_in_each_form() -> None:
    assert {name: found_label(data) for name, data in uploads(LABEL).items()} == dict.fromkeys(uploads(LABEL), LABEL)


@pytest.mark.parametrize(
    "label",
    [
        "no JSON",
        "[]",
        LABEL.replace('"1"', '"9"'),
        LABEL.replace("abc-1", "a b"),
        LABEL[:-1] + ',"More":"x"}',
        LABEL.replace("abc-1", "x" * 5000),
    ],
)
def test_a_faulty_label_is_not_kept(label: str) -> None:
    upload = embed_texts(plain(), {XMP: label_packet(label).decode()})
    assert found_label(upload) == ""
    assert keep_marks(plain(), upload, manifest=False) == plain()


@pytest.mark.parametrize("data", [b"", b"GIF89a", plain("GIF"), plain()])
def test_most_files_have_neither(data: bytes) -> None:
    assert keep_marks(plain(), data, manifest=True) == plain()


def test_nothing_else_of_the_metadata_is_kept() -> None:
    exif = Pillow.Exif()
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 0.0)  # latitude
    exif[0x010F] = "Camera of Ann"
    upload = plain(
        "JPEG", exif=exif, xmp=label_packet(LABEL).replace(b"</rdf:Description>", b"<a>Ann</a></rdf:Description>")
    )
    stored = keep_marks(plain(), upload, manifest=True)
    assert found_label(stored) == LABEL
    assert b"Ann" not in stored
    with Pillow.open(io.BytesIO(stored)) as opened:
        opened.load()
        assert (opened.size, len(opened.getexif())) == ((48, 32), 0)


def drawn(source: Path, rules: MarkingRules, request: DrawRequest = REQUEST, sealing: Any = None) -> bytes:
    """The file of a picture that was drawn from another one."""
    recipe = Recipe("1:0", "demo", "a cat", "", 48, 32, 4, 1.0, 7, image=str(source))
    image = Image(recipe.id, plain(), width=48, height=32, seconds=1.0)
    return Marker(lambda: (), rules, sealing).mark(image, request, recipe, drawn_at=0)[0]


@pytest.mark.parametrize("producer", ["", "P1"])
def test_a_picture_has_one_label(producer: str, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(keep_marks(plain(), uploads(LABEL)["WEBP"], manifest=False))
    data = drawn(source, MarkingRules(aigc_producer=producer))
    report = inspect(data)
    assert report.label_faults == ()
    assert (report.label == LABEL) is not bool(producer)
    assert ('"ContentProducer":"P1"' in report.label) is bool(producer)
    # The label goes on from picture to picture.
    source.write_bytes(data)
    assert inspect(drawn(source, MarkingRules())).label == report.label


def test_what_is_made_of_a_picture_with_somebodys_own_in_it_has_it_too(tmp_path: Path) -> None:
    """Such as an upscale of it: the request names a picture of Easel alone."""
    source = tmp_path / "a.png"
    request = replace(REQUEST, image="pictures/2026/01/02/1-0.png")
    for wanted in (COMPOSITE, TRAINED):
        source.write_bytes(marked(facts(source=wanted)))
        assert inspect(drawn(source, MarkingRules(), request)).source_type == wanted


def test_a_source_that_is_gone_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert inspect(drawn(tmp_path / "gone.png", MarkingRules())).is_marked
    assert "gone.png" in caplog.text
