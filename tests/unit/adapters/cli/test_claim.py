"""`easel claim` beside or before a service, and what the doctor says of those who wait."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

import pytest

from adapters.cli import checks, claim
from adapters.cli.clock import SystemClock
from bot.model.access import Guest
from bot.settings import Settings
from bot.store import access, codes
from bot.store.codes import CodeKind
from bot.store.database import Database


async def redeemed(path: Path, typed: str, now: float) -> bool:
    async with await Database.open(path) as db, db.write() as tx:
        return (await codes.redeem(tx, CodeKind.CLAIM, typed, now)).found


def test_it_prints_a_code_that_is_good_now_and_ends_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C")
    printed = []
    for _ in range(2):
        assert claim.main(argparse.Namespace()) == 0
        said = capsys.readouterr()
        assert said.err == ""
        (code,) = re.findall(r"/claim ([A-Z0-9]{4}-[A-Z0-9]{4})", said.out)
        printed.append(code)
    path = tmp_path / "easel.db"
    assert printed[0].replace("-", "").encode() not in path.read_bytes()
    now = SystemClock().now()
    assert not asyncio.run(redeemed(path, printed[0], now))
    assert asyncio.run(redeemed(path, printed[1], now))


async def test_the_doctor_says_how_many_wait_and_nothing_when_nobody_does(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    assert await checks.newcomers(settings) is None
    async with await Database.open(tmp_path / "easel.db") as db:
        assert await checks.newcomers(settings) is None
        async with db.write() as tx:
            await access.add(tx, "telegram", Guest.PERSON, "1", name="Ada", now=1.0)
        finding = await checks.newcomers(settings)
    assert finding is not None
    assert (finding.ok, "1" in finding.found) == (True, True)
