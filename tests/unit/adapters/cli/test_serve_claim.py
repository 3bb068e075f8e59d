"""`easel claim` beside or before a service, and what the doctor says of those who wait."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import SecretStr

from adapters.cli import doctor, serve
from adapters.cli.clock import SystemClock
from adapters.cli.environment import AppSettings
from adapters.cli.wiring import Easel
from adapters.telegram.platform import PLATFORM as TELEGRAM
from adapters.telegram.settings import TelegramSettings
from bot.access.store import codes as code_rows
from bot.access.store import newcomers as access_rows
from bot.access.store.codes import CodeKind
from bot.core.access import AccessMode, Owners, SubjectKind
from bot.settings import Settings
from bot.storage.database import Database


async def redeemed(path: Path, typed: str, now: float) -> bool:
    async with await Database.open(path) as db, db.write() as tx:
        return (await code_rows.redeem_code(tx, CodeKind.CLAIM, typed, now)).found


def test_it_prints_a_code_that_is_good_now_and_ends_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C")
    printed = []
    for _ in range(2):
        assert serve.main(argparse.Namespace(command="claim")) == 0
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
    settings = AppSettings(Settings(_env_file=None, data_dir=tmp_path), (TELEGRAM.configured(TelegramSettings()),))
    assert await doctor.check_newcomers(settings) is None
    async with await Database.open(tmp_path / "easel.db") as db:
        assert await doctor.check_newcomers(settings) is None
        async with db.write() as tx:
            await access_rows.add_newcomer(tx, "telegram", SubjectKind.PERSON, "1", name="Ada", now=1.0)
        finding = await doctor.check_newcomers(settings)
    assert finding is not None
    assert (finding.ok, "1" in finding.found) == (True, True)


@pytest.mark.parametrize(
    ("rule", "words"),
    [("open", "Anybody may draw"), ("approve", "newcomers wait until it has one"), ("list", "nobody is let in until")],
)
async def test_who_may_draw_while_nobody_owns_the_bot_is_said_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rule: str, words: str
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    telegram = TelegramSettings(_env_file=None, token=SecretStr("1:a"), access=AccessMode(rule))
    app = AppSettings(Settings(_env_file=None, data_dir=tmp_path), (TELEGRAM.configured(telegram),))
    async with await Database.open(tmp_path / "easel.db") as db:
        await serve._newcomers(cast(Easel, SimpleNamespace(db=db, owners=Owners({"telegram": ()}))), app)
    said = capsys.readouterr().out
    assert words in said
    assert ("wait" in said) == (rule == "approve")
    assert "/claim " in said
