"""The inspector: a few files at once, and the root certificate by which own signatures are trusted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from bot.core.inspection import Inspection, SealReport, SealState
from bot.provenance import inspector
from bot.provenance.inspector import AT_ONCE, Inspector, root_certificate
from bot.provenance.sealing import FOLDER, ROOT
from bot.settings import Settings
from tests.unit.bot.provenance.marked_files import facts, marked

PEM = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


def test_only_a_certificate_is_shown_and_of_a_chain_the_last(tmp_path: Path) -> None:
    chain = tmp_path / "own.pem"
    own = Settings(_env_file=None, data_dir=tmp_path, provenance_c2pa_cert=chain)
    assert root_certificate(own) is None
    chain.write_bytes(KEY)
    assert root_certificate(own) is None
    chain.write_bytes(PEM % b"bGVhZg==" + PEM % b"cm9vdA==" + KEY)
    assert root_certificate(own) == PEM % b"cm9vdA=="
    usual = Settings(_env_file=None, data_dir=tmp_path)
    assert root_certificate(usual) is None
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ROOT).write_bytes(PEM % b"b3du")
    assert root_certificate(usual) == PEM % b"b3du"


async def test_a_signature_by_the_own_root_is_trusted() -> None:
    pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from bot.provenance.seal import Seal  # noqa: PLC0415 - of the optional package
    from bot.provenance.signing_keys import new_signing_keys  # noqa: PLC0415 - likewise

    keys = new_signing_keys("Club Ink")
    data = Seal(keys.chain, keys.key).sign(marked(facts()), "image/png", facts())
    assert (await Inspector(lambda: keys.root).inspect(data)).seal.state is SealState.TRUSTED
    assert (await Inspector().inspect(data)).seal.state is SealState.UNKNOWN_SIGNER
    assert await Inspector().root() is None


async def test_slow_files_take_a_few_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0
    lock, together = threading.Lock(), threading.Barrier(AT_ONCE)

    def slow(*_: object) -> Inspection:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait(20)
        with lock:
            inside -= 1
        return Inspection("PNG", 1, 1, SealReport(SealState.NONE))

    monkeypatch.setattr(inspector, "inspect", slow)
    one = Inspector()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4 * AT_ONCE):
            tasks.create_task(one.inspect(b""))
    assert most == AT_ONCE
