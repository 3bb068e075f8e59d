"""Manifests of uploads: they go along with a picture, unless they may name places, and hostile ones cost nothing."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from bot.core.file_marks import embed_chunk, read_chunk
from bot.core.inspection import COMPOSITE, SealState
from bot.core.requests import DrawRequest
from bot.provenance import kept_marks
from bot.provenance.facts import MarkingRules
from bot.provenance.inspection import inspect
from bot.provenance.kept_marks import CHUNK, ingredient_of, keep_marks
from bot.provenance.seal import Seal, check_seal
from bot.provenance.sealing import Sealing, SignatureStatus
from tests.unit.bot.provenance.marked_files import copy_of, facts, marked
from tests.unit.bot.provenance.test_kept_marks import REQUEST, drawn, plain

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

import c2pa

from bot.provenance.signing_keys import SigningKeys, new_signing_keys


@pytest.fixture(scope="module")
def keys() -> SigningKeys:
    return new_signing_keys("Club Ink")


@pytest.fixture(scope="module")
def theirs() -> Seal:
    """The seal of somebody else's program."""
    keys = new_signing_keys("Other Club")
    return Seal(keys.chain, keys.key)


class Signer:
    """Draws from an upload and signs, and counts how."""

    def __init__(self, keys: SigningKeys, folder: Path) -> None:
        self.keys = keys
        self.source = folder / "a.png"
        self.counted: list[SignatureStatus] = []
        self.sealing = Sealing(Seal(keys.chain, keys.key), count=self.counted.append)

    def draw(self, upload: bytes, request: DrawRequest = REQUEST) -> bytes:
        """The file of a picture that was drawn from this upload."""
        self.source.write_bytes(keep_marks(plain(), upload, manifest=True))
        return drawn(self.source, MarkingRules(), request, self.sealing)

    def ingredients(self, data: bytes) -> list[dict[str, Any]]:
        """The ingredients of a file, whose own signature is trusted."""
        assert check_seal(data, "image/png", [self.keys.root]).state is SealState.TRUSTED
        with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
            found: list[dict[str, Any]] = reader.get_active_manifest()["ingredients"]
        return found


@pytest.fixture
def signer(keys: SigningKeys, tmp_path: Path) -> Signer:
    return Signer(keys, tmp_path)


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_the_manifest_of_an_upload_goes_along(kind: str, mime: str, signer: Signer, theirs: Seal) -> None:
    upload = theirs.sign(copy_of(marked(facts()), kind), mime, facts())
    data = signer.draw(upload)
    (ingredient,) = signer.ingredients(data)
    assert ingredient["relationship"] == "inputTo"
    assert "active_manifest" in ingredient
    assert b"Other Club" in data
    assert check_seal(data, "image/png").source_type == COMPOSITE
    assert signer.counted == [SignatureStatus.SIGNED]
    # A picture that is drawn from this one has both.
    signer.source.write_bytes(data)
    again = drawn(signer.source, MarkingRules(), REQUEST, signer.sealing)
    assert b"Other Club" in again
    assert "active_manifest" in signer.ingredients(again)[0]


def test_the_file_of_a_private_request_tells_nothing_of_the_upload(signer: Signer, theirs: Seal) -> None:
    upload = theirs.sign(marked(facts()), "image/png", facts())
    data = signer.draw(upload, replace(REQUEST, private=True))
    assert "active_manifest" not in signer.ingredients(data)[0]
    assert b"Other Club" not in data


def test_the_file_of_a_private_request_does_not_say_which_picture_it_was_drawn_from(
    signer: Signer, theirs: Seal
) -> None:
    public, request = drawn(Path("none"), MarkingRules(), REQUEST, signer.sealing), replace(REQUEST, private=True)
    ids = [inspect(public).document]
    signer.source.write_bytes(public)
    files = [drawn(signer.source, MarkingRules(), request, signer.sealing)]
    upload = theirs.sign(marked(facts()), "image/png", facts())
    ids += [str(facts().document), read_chunk(keep_marks(plain(), upload, manifest=True), CHUNK)[:30].decode()]
    files.append(signer.draw(upload, request))
    for data in files:
        assert len(signer.ingredients(data)) == 1
        assert [one for one in ids if one.encode() in data] == []


def with_assertions(*assertions: dict[str, Any], thumbnail: bool = False) -> bytes:
    """A JPEG that somebody signed with these assertions."""
    keys = new_signing_keys("Camera")
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=keys.chain, private_key=keys.key, ta_url=None)
    created = {"action": "c2pa.created", "digitalSourceType": COMPOSITE}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    manifest = {"claim_generator_info": [{"name": "Camera"}], "assertions": [actions, *assertions]}
    context = c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": thumbnail}}})
    signed = io.BytesIO()
    c2pa.Builder(manifest, context).sign(c2pa.Signer.from_info(info), "image/jpeg", io.BytesIO(plain("JPEG")), signed)
    return signed.getvalue()


GPS = {"@context": {"exif": "http://ns.adobe.com/exif/1.0/"}, "exif:GPSLatitude": "48,8.0N"}


@pytest.mark.parametrize(
    ("assertions", "thumbnail", "part"),
    [
        ([{"label": "stds.exif", "data": GPS}], False, "stds.exif"),
        ([{"label": "c2pa.metadata", "data": GPS}], False, "c2pa.metadata"),
        ([{"label": "org.example.owner", "data": {"name": "Ann"}}], False, "org.example.owner"),
        ([], True, "c2pa.thumbnail"),
    ],
)
def test_a_manifest_that_may_name_a_place_or_shows_the_upload_stays_out(
    assertions: list[dict[str, Any]], thumbnail: bool, part: str, signer: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    upload = with_assertions(*assertions, thumbnail=thumbnail)
    assert upload != with_assertions()
    data = signer.draw(upload)
    assert part in caplog.text
    assert b"48,8.0N" not in data
    assert b"Ann" not in data
    (ingredient,) = signer.ingredients(data)
    assert "active_manifest" not in ingredient
    assert "active_manifest" in signer.ingredients(signer.draw(with_assertions()))[0]


def test_sizes_are_bounded(signer: Signer, theirs: Seal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_marks, "MAX_MANIFEST", 1000)
    own = theirs.sign(marked(facts()), "image/png", facts())
    assert not read_chunk(keep_marks(plain(), own, manifest=True), CHUNK)
    # So it is for pictures of Easel itself, whose manifests grow from edit to edit.
    assert not read_chunk(ingredient_of(own, 0, manifest=True).data, b"caBX")
    monkeypatch.undo()
    assert read_chunk(ingredient_of(own, 0, manifest=True).data, b"caBX")


def test_hostile_manifests_never_cost_a_picture_or_its_signature(signer: Signer, theirs: Seal) -> None:
    upload = theirs.sign(marked(facts()), "image/png", facts())
    begin = upload.index(b"caBX")
    chance = random.Random(11)
    kept = set()
    for _ in range(60):
        hostile = bytearray(upload)
        for _ in range(chance.choice((1, 3, 200))):
            hostile[chance.randrange(begin - 4, begin + 3000)] = chance.randrange(256)
        data = signer.draw(bytes(hostile))
        kept |= {"active_manifest" in one for one in signer.ingredients(data)}
    assert kept == {True, False}, "some could be read, some not"
    assert signer.counted == [SignatureStatus.SIGNED] * 60


def test_a_forged_ingredient_is_left_out_at_signing(signer: Signer, caplog: pytest.LogCaptureFixture) -> None:
    label = "source-1"
    signer.source.write_bytes(embed_chunk(plain(), CHUNK, label.encode() + b"\0no archive"))
    data = drawn(signer.source, MarkingRules(), REQUEST, signer.sealing)
    assert check_seal(data, "image/png", [signer.keys.root]).state is SealState.TRUSTED
    assert signer.counted == [SignatureStatus.NO_SOURCES]
    assert "without its sources" in caplog.text


def test_an_ingredient_of_an_upload_is_not_taken_from_the_upload_itself(signer: Signer, theirs: Seal) -> None:
    archived = keep_marks(plain(), theirs.sign(marked(facts()), "image/png", facts()), manifest=True)
    assert read_chunk(archived, CHUNK)
    with Pillow.open(io.BytesIO(archived)) as kept, Pillow.open(io.BytesIO(plain())) as bare:
        assert kept.tobytes() == bare.tobytes()
    # Whoever uploads it could have written the archive, and what it says of the signature.
    assert not read_chunk(keep_marks(plain(), archived, manifest=True), CHUNK)
