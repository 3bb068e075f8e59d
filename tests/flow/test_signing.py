"""Signed pictures on their way to people, also where the time-stamping service is away or nothing can be signed."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest

from bot.core.inspection import SealState
from bot.provenance.inspection import inspect
from bot.provenance.seal import Seal
from bot.provenance.sealing import Sealing, SignatureStatus
from bot.provenance.signing_keys import new_signing_keys
from tests.flow.conftest import Make
from tests.flow.harness import Bot
from tests.unit.bot.provenance.marked_files import signing_keys

pytest.importorskip("c2pa", reason="the extra c2pa is not installed")


async def seals(bot: Bot, sealing: Sealing) -> list[SealState]:
    """Let somebody ask for two pictures; returns how the files are signed that arrive."""
    bot.sealing = sealing
    await bot.restart()
    job = await bot.delivered((await bot.ask(count="2")).id)
    assert len(bot.chats.pictures(job.id)) == 2
    files = await asyncio.to_thread(lambda: [path.read_bytes() for path in sorted(bot.pictures.rglob("*.png"))])
    found = [inspect(data, [signing_keys().root]) for data in files]
    assert all(one.is_marked for one in found)
    return [one.seal.state for one in found]


async def test_pictures_arrive_signed_where_the_time_stamping_service_is_away(make: Make) -> None:
    keys, counted, threads = signing_keys(), list[SignatureStatus](), set[int]()

    def count(how: SignatureStatus) -> None:
        counted.append(how)
        threads.add(threading.get_ident())

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        seal = Seal(keys.chain, keys.key, tsa=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        assert await seals(await make(), Sealing(seal, count=count)) == [SealState.TRUSTED] * 2
    assert counted == [SignatureStatus.UNSTAMPED] * 2
    assert threading.get_ident() not in threads, "the event loop's thread signs nothing"


async def test_pictures_arrive_where_the_certificate_has_ended(make: Make) -> None:
    old = new_signing_keys("Club Ink", now=datetime.now(UTC) - timedelta(days=20 * 366))
    counted: list[SignatureStatus] = []
    sealing = Sealing(Seal(old.chain, old.key), count=counted.append)
    assert await seals(await make(), sealing) == [SealState.NONE] * 2
    assert counted == [SignatureStatus.UNSIGNED] * 2
