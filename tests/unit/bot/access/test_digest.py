"""What owners are told of newcomers: all in one message, at most one in ten minutes, also across restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.access.digest import DIGEST_SECONDS, AccessDigest
from bot.access.store import newcomers as access_rows
from bot.core.access import AccessDecision, AccessMode, Newcomer, Owners, SubjectKind
from bot.core.cards import Card
from bot.core.events import EventBus, MessagesAdded
from bot.storage import messages, people
from bot.storage.database import Database
from bot.storage.sql import load_card
from tests.fakes.clock import FakeClock
from tests.fakes.watched_event import WatchedEvent

RULES = {"chat": AccessMode.APPROVE, "board": AccessMode.APPROVE, "club": AccessMode.LIST}


class Desk:
    """One data folder and a clock; digests come and go."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.clock = FakeClock()
        self.owners = Owners({"chat": ("1",), "board": ("2",), "club": ()})
        self.digest: AccessDigest
        self.posts = 0
        self.bus = EventBus()
        self.bus.subscribe(MessagesAdded, self._posted)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A service that runs while the block does."""
        self.digest = AccessDigest(self.db, self.owners, RULES, bus=self.bus, clock=self.clock)
        self._wake = self.digest._wake = WatchedEvent()
        task = asyncio.create_task(self.digest.run())
        yield
        await self.rest()
        task.cancel()
        await asyncio.wait({task})

    async def comes(self, name: str, platform: str = "chat", kind: SubjectKind = SubjectKind.PERSON) -> Newcomer:
        """Somebody asks to come in."""
        async with self.db.write() as tx:
            found = await access_rows.add_newcomer(tx, platform, kind, name, name=name, now=self.clock.now())
        self.digest.wake()
        return found

    async def rest(self) -> None:
        """Wait until it does nothing more without time passing or somebody new."""

        def still() -> bool:
            asleep = any(not event.is_set() for _, event in self.clock._sleepers)
            return asleep or self._wake.idle

        async with asyncio.timeout(10):
            while not still():  # noqa: ASYNC110 - it tells nobody that it rests
                await asyncio.sleep(0)

    async def passes(self, seconds: float) -> None:
        await self.rest()
        self.clock.advance(seconds)
        await self.rest()

    async def told(self, platform: str = "chat") -> list[Card]:
        await self.rest()
        async with self.db.read() as tx:
            found = await messages.wanted(tx)
        return [load_card(m.card) for m in found if m.address.platform == platform]

    def _posted(self, _event: MessagesAdded) -> None:
        self.posts += 1


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with await Database.open(tmp_path / "easel.db") as db:
        yield Desk(db)


def numbers(card: Card) -> list[int]:
    """Whom a card has buttons for."""
    return [row[0].press.job_id for row in card.buttons]


async def test_the_first_is_told_at_once_and_what_follows_together_after_ten_minutes(desk: Desk) -> None:
    async with desk.running():
        await desk.comes("Ann")
        assert [numbers(card) for card in await desk.told()] == [[1]]
        for name in ("Bo", "Cy", "Di"):
            await desk.comes(name)
        await desk.passes(DIGEST_SECONDS - 1)
        assert len(await desk.told()) == 1
        await desk.passes(2)
        assert [numbers(card) for card in await desk.told()] == [[1], [2, 3, 4]]
        assert desk.posts == 2
        await desk.passes(10 * DIGEST_SECONDS)
        assert len(await desk.told()) == 2


async def test_every_owner_is_told_once_in_a_chat_of_their_own(desk: Desk) -> None:
    async with desk.running():
        await desk.comes("Ann")
        for platform, user in (("chat", "1"), ("board", "2")):
            (card,) = await desk.told(platform)
            assert card.private
            async with desk.db.read() as tx:
                (found,) = [m for m in await messages.wanted(tx) if m.address.platform == platform]
            assert (found.address.user, found.address.private) == (user, True)


async def test_a_restart_tells_nobody_sooner_and_nothing_twice(desk: Desk) -> None:
    async with desk.running():
        await desk.comes("Ann")
    desk.clock.advance(60)
    async with desk.running():
        await desk.comes("Bo")
        await desk.passes(DIGEST_SECONDS - 61)
        assert len(await desk.told()) == 1
        await desk.passes(2)
        assert [numbers(card) for card in await desk.told()] == [[1], [2]]


async def test_who_came_while_nobody_owned_it_is_told_to_the_first_owner(desk: Desk) -> None:
    desk.owners = Owners({"chat": ()})
    async with desk.running():
        await desk.comes("Ann")
        await desk.passes(DIGEST_SECONDS)
        assert await desk.told() == []
        async with desk.db.write() as tx:
            await people.put_owner(tx, "chat", "5", "Eve", locale="zh_CN", now=0.0)
        desk.owners.claimed([("chat", "5")])
        desk.digest.wake()
        (card,) = await desk.told()
        assert "申请" in card.status


async def test_those_who_are_only_listed_or_answered_are_told_of_to_nobody(desk: Desk) -> None:
    async with desk.running():
        await desk.comes("Ann", "club")
        assert await desk.told() == []
        await desk.comes("Bo")
        await desk.rest()
        found = await desk.comes("Cy")
        async with desk.db.write() as tx:
            await access_rows.set_decision(tx, found.id, AccessDecision.ALLOWED, by="chat:1", now=1.0)
        await desk.passes(DIGEST_SECONDS)
        assert [numbers(card) for card in await desk.told()] == [[2]]


async def test_a_crowd_is_one_card_that_says_how_many_more(desk: Desk) -> None:
    async with desk.running():
        await desk.comes("first")
        await desk.rest()
        async with desk.db.write() as tx:
            for number in range(30):
                await access_rows.add_newcomer(tx, "chat", SubjectKind.PLACE, str(number), name="A server", now=1.0)
        desk.digest.wake()
        await desk.passes(DIGEST_SECONDS)
        _, card = await desk.told()
        assert numbers(card) == [2, 3, 4, 5, 6]
        assert "30" in card.status
        assert any("25" in note for note in card.notes)


async def test_a_database_that_fails_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fails: list[Callable[[], None]] = []
    real = access_rows.open_requests

    async def broken(*args: object, **more: object) -> object:
        if not fails:
            fails.append(lambda: None)
            raise RuntimeError("a fault")
        return await real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(access_rows, "open_requests", broken)
    async with desk.running():
        await desk.comes("Ann")
        await desk.passes(61)
        assert len(await desk.told()) == 1
