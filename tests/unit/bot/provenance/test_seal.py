"""Signatures: trusted with the root, unknown without it, broken by any change, and never a reason to lose a picture."""

from __future__ import annotations

import random
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.inspection import COMPOSITE, TRAINED, SealState
from bot.provenance import seal
from bot.provenance.inspection import inspect
from bot.provenance.seal import Ingredient, Seal, SealUnavailable, check_seal
from bot.provenance.signing_keys import SigningKeys, new_signing_keys
from tests.fakes.hostile_files import remote_manifest
from tests.unit.bot.provenance.marked_files import copy_of, facts, marked

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")


@pytest.fixture(scope="module")
def keys() -> SigningKeys:
    return new_signing_keys("Club Ink")


@pytest.fixture(scope="module")
def signed(keys: SigningKeys) -> bytes:
    return Seal(keys.chain, keys.key).sign(marked(facts()), "image/png", facts())


def test_the_signer_is_unknown_until_its_root_is_trusted(signed: bytes, keys: SigningKeys) -> None:
    report = check_seal(signed, "image/png")
    assert (report.state, report.problems) == (SealState.UNKNOWN_SIGNER, ())
    assert "Club Ink" in report.signer
    assert report.generator.startswith("Easel ")
    assert report.source_type == TRAINED
    assert check_seal(signed, "image/png", [keys.root]).state is SealState.TRUSTED
    assert check_seal(signed, "image/png", [new_signing_keys("Other").root]).state is SealState.UNKNOWN_SIGNER
    assert check_seal(signed, "image/png", [b"no certificate"]).state is not SealState.TRUSTED


def test_it_adds_some_kilobytes_and_changes_nothing_else(signed: bytes) -> None:
    plain = marked(facts())
    assert 0 < len(signed) - len(plain) < 5_000
    assert plain[-40:] == signed[-40:]
    assert check_seal(plain, "image/png").state is SealState.NONE


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_copies_are_signed_too(kind: str, mime: str, keys: SigningKeys) -> None:
    done = Seal(keys.chain, keys.key).sign(copy_of(marked(facts()), kind), mime, facts())
    assert check_seal(done, mime, [keys.root]).state is SealState.TRUSTED


# Not in the middle: the signature has padding there, which says nothing and which nothing covers.
@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.2, 0.65, 0.7, 0.8, 0.9, 0.99])
def test_any_changed_byte_breaks_it(share: float, signed: bytes, keys: SigningKeys) -> None:
    changed = bytearray(signed)
    changed[int(len(changed) * share)] ^= 1
    assert check_seal(bytes(changed), "image/png", [keys.root]).state in {SealState.BROKEN, SealState.NONE}


def test_something_behind_the_end_breaks_it(signed: bytes, keys: SigningKeys) -> None:
    assert check_seal(signed + b"more", "image/png", [keys.root]).problems == ("assertion.dataHash.mismatch",)


def test_sources_are_ingredients(signed: bytes, keys: SigningKeys) -> None:
    sources = [Ingredient("source-0", data=signed), Ingredient("source-1", data=marked(facts(producer="P1")))]
    told = facts(source=COMPOSITE)
    done = Seal(keys.chain, keys.key).sign(marked(told), "image/png", told, sources)
    report = check_seal(done, "image/png", [keys.root])
    assert (report.state, report.source_type) == (SealState.TRUSTED, COMPOSITE)
    assert done.count(b"c2pa.ingredient") > signed.count(b"c2pa.ingredient")


def test_threads_share_a_seal(signed: bytes, keys: SigningKeys) -> None:
    seal, source = Seal(keys.chain, keys.key), Ingredient("source-0", data=signed)

    def sign(number: int) -> tuple[SealState, bool]:
        told = facts(f"cat {number}")
        done = seal.sign(marked(told), "image/png", told, [source] if number % 2 else [])
        return check_seal(done, "image/png", [keys.root]).state, f"cat {number}<".encode() in done

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(sign, range(64))) == {(SealState.TRUSTED, True)}


def test_a_time_stamping_service_that_is_away_is_said(keys: SigningKeys) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        stamping = Seal(keys.chain, keys.key, tsa=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(SealUnavailable):
            stamping.sign(marked(facts()), "image/png", facts())
        done = stamping.sign(marked(facts()), "image/png", facts(), stamped=False)
    assert check_seal(done, "image/png", [keys.root]).state is SealState.TRUSTED


def test_a_certificate_that_has_ended_is_said() -> None:
    old = new_signing_keys("Club Ink", now=datetime.now(UTC) - timedelta(days=20 * 366))
    with pytest.raises(SealUnavailable):
        Seal(old.chain, old.key).sign(marked(facts()), "image/png", facts())


@pytest.mark.parametrize("key", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_keys_that_are_none_are_refused(key: bytes, keys: SigningKeys) -> None:
    with pytest.raises(SealUnavailable):
        Seal(keys.chain, key).sign(marked(facts()), "image/png", facts())


def test_nothing_is_fetched(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert seal._QUIET["verify"] == {"remote_manifest_fetch": False}
    assert check_seal(signed, "image/png").state is SealState.UNKNOWN_SIGNER


@pytest.mark.parametrize("seed", range(3))
def test_a_manifest_on_the_network_is_said_and_not_fetched(seed: int) -> None:
    data = remote_manifest("http://127.0.0.1:9/x")(random.Random(seed))
    found = inspect(data)
    assert (found.seal.state, found.is_faulty) == (SealState.REMOTE, False)
