"""Signing by the settings: when it is on, when it refuses to start, and that no picture is lost for it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from bot.core.errors import BadInput
from bot.core.inspection import COMPOSITE, SealState
from bot.provenance.facts import Facts
from bot.provenance.seal import Ingredient, Seal, SealUnavailable, check_seal
from bot.provenance.sealing import CHAIN, FOLDER, KEY, STAMP_PAUSE, Sealing, SignatureStatus, load_seal
from bot.settings import Settings
from tests.unit.bot.provenance.marked_files import copy_of, facts, marked

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

import c2pa

from bot.provenance.signing_keys import new_signing_keys


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seal | None]:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))

    def load(**changes: str) -> Seal | None:
        for name, value in changes.items():
            monkeypatch.setenv(f"EASEL_PROVENANCE_{name.upper()}", value)
        return load_seal(Settings.load(None))

    return load


def put_keys(folder: Path) -> None:
    keys = new_signing_keys("Club Ink")
    folder.mkdir()
    (folder / CHAIN).write_bytes(keys.chain)
    (folder / KEY).write_bytes(keys.key)


def test_without_keys_nothing_is_signed(load: Callable[..., Seal | None]) -> None:
    assert load() is None
    with pytest.raises(BadInput, match=r"refusal\.seal\.no_keys"):
        load(c2pa="on")


def test_with_keys_pictures_are_signed_unless_it_is_off(load: Callable[..., Seal | None], tmp_path: Path) -> None:
    put_keys(tmp_path / FOLDER)
    seal = load()
    assert seal is not None
    data = Sealing(seal).sign(marked(facts()), "image/png", facts())
    assert check_seal(data, "image/png").state is SealState.UNKNOWN_SIGNER
    assert load(c2pa="off") is None


def test_a_key_may_be_a_secret_or_a_file(load: Callable[..., Seal | None], tmp_path: Path) -> None:
    put_keys(tmp_path / "elsewhere")
    chain, key = tmp_path / "elsewhere" / CHAIN, tmp_path / "elsewhere" / KEY
    assert load(c2pa_cert=str(chain), c2pa_key=str(key)) is not None
    assert load(c2pa_cert=str(chain), c2pa_key=key.read_text()) is not None


@pytest.mark.parametrize("key", ["/nowhere/key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_keys_that_can_not_sign_refuse_the_start(key: str, load: Callable[..., Seal | None], tmp_path: Path) -> None:
    put_keys(tmp_path / FOLDER)
    with pytest.raises(BadInput, match=r"refusal\.seal\.unusable"):
        load(c2pa_key=key)


def test_a_certificate_that_has_ended_refuses_the_start_only_where_signatures_are_asked_for(
    load: Callable[..., Seal | None], tmp_path: Path
) -> None:
    old = new_signing_keys("Club Ink", now=datetime.now(UTC) - timedelta(days=20 * 366))
    put_keys(tmp_path / FOLDER)
    assert load(c2pa="on") is not None
    (tmp_path / FOLDER / CHAIN).write_bytes(old.chain)
    (tmp_path / FOLDER / KEY).write_bytes(old.key)
    assert load(c2pa="auto") is not None
    with pytest.raises(BadInput, match=r"refusal\.seal\.unusable"):
        load(c2pa="on")


class FailingSeal(Seal):
    """A seal whose time-stamping service is away, or that can't sign at all."""

    def __init__(self, *, signs: bool) -> None:
        self.stamps = True
        self.signs = signs
        self.asked: list[bool] = []
        self.takes_sources = True

    def sign(
        self, data: bytes, mime: str, facts: Facts, sources: Sequence[Ingredient] = (), *, stamped: bool = True
    ) -> bytes:
        self.asked.append(stamped)
        if stamped or not self.signs or (sources and not self.takes_sources):
            raise SealUnavailable("no answer")
        return data + b"signed"


def test_without_time_stamps_pictures_are_signed_and_the_service_rests() -> None:
    seal, now, counted = FailingSeal(signs=True), [100.0], list[SignatureStatus]()
    sealing = Sealing(seal, clock=lambda: now[0], count=counted.append)
    assert [sealing.sign(b"a", "image/png", facts()) for _ in range(3)] == [b"asigned"] * 3
    assert seal.asked == [True, False, False, False]
    assert counted == [SignatureStatus.UNSTAMPED] * 3
    now[0] += STAMP_PAUSE
    sealing.sign(b"a", "image/png", facts())
    assert seal.asked[4:] == [True, False]


class SilentSeal(Seal):
    """A seal whose time-stamping service takes the request and does not answer."""

    def __init__(self) -> None:
        self.stamps = True
        self.ended = threading.Event()

    def sign(
        self, data: bytes, mime: str, facts: Facts, sources: Sequence[Ingredient] = (), *, stamped: bool = True
    ) -> bytes:
        if stamped:
            self.ended.wait()
        return data + b"signed"


def test_no_picture_waits_for_a_service_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    seal, counted = SilentSeal(), list[SignatureStatus]()
    sealing = Sealing(seal, count=counted.append, stamp_seconds=0.01)
    try:
        assert [sealing.sign(b"a", "image/png", facts()) for _ in range(2)] == [b"asigned"] * 2
    finally:
        seal.ended.set()
    assert counted == [SignatureStatus.UNSTAMPED] * 2
    assert caplog.text.count("no answer within") == 1


def test_a_picture_is_never_lost_for_its_signature(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[SignatureStatus] = []
    assert Sealing(FailingSeal(signs=False), count=counted.append).sign(b"a", "image/png", facts()) == b"a"
    assert "not signed" in caplog.text
    assert counted == [SignatureStatus.UNSIGNED]


def test_a_source_that_is_no_ingredient_costs_neither_signature_nor_time_stamps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seal, counted = FailingSeal(signs=True), list[SignatureStatus]()
    seal.takes_sources, seal.stamps = False, False
    sealing = Sealing(seal, count=counted.append)
    assert sealing.sign(b"a", "image/png", facts(), [Ingredient("source-0", data=b"hostile")]) == b"asigned"
    assert sealing.sign(b"a", "image/png", facts()) == b"asigned"
    assert counted == [SignatureStatus.NO_SOURCES, SignatureStatus.SIGNED]
    assert caplog.text.count("without its sources") == 1


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("PNG", "image/png")])
@pytest.mark.parametrize("original_is_signed", [True, False])
def test_a_copy_names_its_original(
    kind: str, mime: str, original_is_signed: bool, load: Callable[..., Seal | None], tmp_path: Path
) -> None:
    put_keys(tmp_path / FOLDER)
    seal = load()
    assert seal is not None
    counted: list[SignatureStatus] = []
    sealing = Sealing(seal, count=counted.append)
    told = facts(source=COMPOSITE)
    original = sealing.sign(marked(told), "image/png", told) if original_is_signed else marked(told)
    copy = copy_of(original, kind)
    signed = sealing.sign_copy(copy, mime, original)
    root = (tmp_path / FOLDER / CHAIN).read_bytes()
    report = check_seal(signed, mime, [root])
    assert (report.state, report.source_type) == (SealState.TRUSTED, COMPOSITE)
    with c2pa.Reader(mime, io.BytesIO(signed)) as reader:
        manifest = reader.get_active_manifest()
        assert manifest is not None
        (parent,) = manifest["ingredients"]
    assert parent["relationship"] == "parentOf"
    assert ("active_manifest" in parent) is original_is_signed
    assert set(counted) == {SignatureStatus.SIGNED}


def test_what_no_model_drew_is_not_signed_as_a_copy(load: Callable[..., Seal | None], tmp_path: Path) -> None:
    put_keys(tmp_path / FOLDER)
    seal = load()
    assert seal is not None
    sealing = Sealing(seal)
    sheet = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sheet, "PNG")
    for original in (sheet.getvalue(), b"a ZIP"):
        assert sealing.sign_copy(b"a copy", "image/webp", original) == b"a copy"
