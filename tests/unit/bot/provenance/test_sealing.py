"""Signing by the settings: when it is on, when it refuses to start, and that no picture is lost for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bot.core.errors import BadInput
from bot.core.inspection import SealState
from bot.provenance.facts import Facts
from bot.provenance.seal import Seal, SealUnavailable, check_seal
from bot.provenance.sealing import CHAIN, FOLDER, KEY, STAMP_PAUSE, Sealing, load_seal
from bot.settings import Settings
from tests.unit.bot.provenance.marked_files import facts, marked

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

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


class FailingSeal(Seal):
    """A seal whose time-stamping service is away, or that can't sign at all."""

    def __init__(self, *, signs: bool) -> None:
        self.stamps = True
        self.signs = signs
        self.asked: list[bool] = []

    def sign(
        self, data: bytes, mime: str, facts: Facts, sources: Sequence[Path] = (), *, stamped: bool = True
    ) -> bytes:
        self.asked.append(stamped)
        if stamped or not self.signs:
            raise SealUnavailable("no answer")
        return data + b"signed"


def test_without_time_stamps_pictures_are_signed_and_the_service_rests() -> None:
    seal, now = FailingSeal(signs=True), [100.0]
    sealing = Sealing(seal, clock=lambda: now[0])
    assert [sealing.sign(b"a", "image/png", facts()) for _ in range(3)] == [b"asigned"] * 3
    assert seal.asked == [True, False, False, False]
    now[0] += STAMP_PAUSE
    sealing.sign(b"a", "image/png", facts())
    assert seal.asked[4:] == [True, False]


def test_a_picture_is_never_lost_for_its_signature(caplog: pytest.LogCaptureFixture) -> None:
    assert Sealing(FailingSeal(signs=False)).sign(b"a", "image/png", facts()) == b"a"
    assert "not signed" in caplog.text
