"""Random operations by many people, with kills of the service and of its engines between them.

Afterwards the messages in Telegram's chats, the rows and the files must agree.
"""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
import time
import urllib.error
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import psutil

from tests.e2e.service import Service, until
from tests.fakes.telegram import TelegramStandIn
from tests.fakes.telegram_limits import Flood
from tests.fakes.telegram_world import Chat, Msg, Person

TINY = "--size 64x64 --steps 1"
SLOW = "--size 192x192 --steps 12"
WORDS = ("a red apple", "黄色背景上的火箭", "a green frog", "a blue boat, night")
BUTTONS = ("easel:reroll:", "easel:seed:", "easel:cancel:")
OPEN = "state NOT IN ('delivered', 'failed', 'cancelled')"
_NAME = re.compile(r"(?:easel-)?(\d+)-\d+\.\w+")
MOST_OPEN = 200
"""Largest number of open jobs before the next fifty operations."""

WAIT = 600.0
"""Seconds after which the jobs must have ended."""


def stand_in() -> TelegramStandIn:
    """Return a Telegram stand-in with wide limits; the bot still keeps the real ones."""
    return TelegramStandIn(flood=Flood(gap=0.0, per_minute=10**6))


class ChaosRun:
    """A service and the people who use it.

    Attributes:
        done: How often each operation was done.
        faults: Answers of the page with a status of a broken service.
    """

    def __init__(self, service: Service, telegram: TelegramStandIn, seed: int, people: int) -> None:
        self.service = service
        self.telegram = telegram
        self.rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._owner = telegram.person("Owner")
        self._chats: list[tuple[Chat, Person]] = [(telegram.private(self._owner), self._owner)]
        for number in range(people):
            person = telegram.person(f"Person {number}", self.rng.choice(("en", "zh")))
            self._chats.append((telegram.private(person), person))
        members = [person for _, person in self._chats]
        for number in range(max(1, people // 8)):
            group = telegram.group(f"Group {number}", *members, admin=self.rng.choice(members))
            self._chats += [(group, person) for person in self.rng.sample(members, 3)]
        self._unanswered: dict[str, dict[str, str]] = {}
        self._answered: dict[str, int] = {}
        self._prompts: list[int] = []

    def environment(self) -> dict[str, str]:
        """Return the settings that connect the service to the stand-in."""
        return {
            "EASEL_TELEGRAM_TOKEN": self.telegram.token,
            "EASEL_TELEGRAM_API_URL": self.telegram.url,
            "EASEL_TELEGRAM_OWNERS": str(self._owner.id),
            "EASEL_TELEGRAM_ACCESS": "open",
            "EASEL_QUOTA": "60/hour",
            "EASEL_DEVICE": "cpu,cpu",
        }

    async def blow(self, operations: int, kills: float) -> None:
        """Do this number of operations; ``kills`` is the chance of a kill after each, half of them of one engine alone."""
        actions: tuple[tuple[int, str, Callable[[], Awaitable[None]]], ...] = (
            (34, "page draw", self._page_draw),
            (8, "page draw again", self._page_again),
            (6, "page press", self._page_press),
            (24, "chat draw", self._chat_draw),
            (14, "chat press", self._chat_press),
            (4, "chat cancel", lambda: self._says("/cancel")),
            (4, "chat quota", lambda: self._says("/quota")),
            (3, "chat history", lambda: self._says("/history")),
            (2, "admin quota", lambda: self._says(f"/quota set {self.rng.randrange(20, 90)}/day")),
            (1, "owner grant", self._grant),
        )
        weights = [weight for weight, _, _ in actions]
        for number in range(operations):
            _, name, action = self.rng.choices(actions, weights)[0]
            await action()
            self.done[name] += 1
            if self.rng.random() < kills:
                await self._kill()
            if number == operations // 4:
                await self._kill_engine()
            if number == operations // 2:
                await self._kill_after_a_message()
            if number % 50 == 0:
                await self._breathe()
        await self._settle()

    # Operations on the page. Its requests carry a key: the same key is the same request.

    async def _page_draw(self) -> None:
        prompt = f"{self.rng.choice(WORDS)} --count {self.rng.randrange(1, 4)} {self._size()}"
        key = f"storm-{len(self._answered) + len(self._unanswered):08}"
        self._unanswered[key] = {"prompt": prompt}
        await self._send()

    async def _page_again(self) -> None:
        if not self._answered:
            return
        key = self.rng.choice(list(self._answered))
        job_id = await self._post("/api/draw", {"key": key, "prompt": "whatever is said now"})
        assert job_id in {None, self._answered[key]}, "one request became two jobs"

    async def _page_press(self) -> None:
        if self._answered:
            button = f"{self.rng.choice(BUTTONS)}{self.rng.choice(list(self._answered.values()))}"
            key = f"press-{len(self._answered) + len(self._unanswered):08}"
            await self._post("/api/press", {"key": key, "id": button})

    async def _breathe(self) -> None:
        """Wait while too many jobs are open: further ones would only wait."""
        end = time.monotonic() + WAIT
        while len(self.telegram.updates) > 100 or self._open() > MOST_OPEN:
            assert self.service.running, self.service.log[-5000:]
            assert time.monotonic() < end, f"nothing moves\n{self.service.log[-5000:]}"
            await asyncio.sleep(0.2)

    def _open(self) -> int:
        with closing(self._db()) as db:
            return int(db.execute(f"SELECT count(*) FROM jobs WHERE {OPEN}").fetchone()[0])

    async def _send(self) -> None:
        for key, form in list(self._unanswered.items()):
            job_id = await self._post("/api/draw", {"key": key, **form})
            if job_id is None:
                return
            self._answered[key] = job_id
            del self._unanswered[key]

    async def _post(self, path: str, body: dict[str, str]) -> int | None:
        """Return the job that answers; None when there is no answer, or another one."""
        try:
            answer: dict[str, Any] = await asyncio.to_thread(self.service.call, path, body)
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500 and error.code != 503:
                    self.faults.append(f"{path}: {error.code} {error.read().decode()}")
            return None
        except (OSError, ValueError):  # it was killed meanwhile
            return None
        card = answer.get("card") or answer.get("new")
        return None if card is None else card["job_id"]

    # Operations in chats.

    async def _chat_draw(self) -> None:
        await self._says(
            f"/draw {self.rng.choice(WORDS)} --count {self.rng.randrange(1, 3)} {self._size()}", draws=True
        )

    async def _says(self, text: str, *, draws: bool = False) -> None:
        chat, person = self.rng.choice(self._chats)
        self.telegram.writes(chat, person, text)
        if draws:
            self._prompts.append(self.telegram.updates[-1]["update_id"])

    async def _grant(self) -> None:
        _, person = self.rng.choice(self._chats)
        owner_chat, owner = self._chats[0]
        self.telegram.writes(owner_chat, owner, f"/quota grant {person.id} {self.rng.randrange(1, 9)}")

    async def _chat_press(self) -> None:
        chat, person = self.rng.choice(self._chats)
        cards = [m for m in chat.by_bot()[-20:] if m.markup]
        if cards:
            card = self.rng.choice(cards)
            data = [b["callback_data"] for row in (card.markup or {})["inline_keyboard"] for b in row]
            wanted = [d for d in data if d.startswith(BUTTONS)]
            if wanted:
                self.telegram.sends_press(card, person, self.rng.choice(wanted))

    def _size(self) -> str:
        return TINY if self.rng.random() < 0.9 else SLOW

    # Kills.

    async def _kill(self) -> None:
        """Kill the service or one of its engines at a random moment."""
        await asyncio.sleep(self.rng.random() * 0.5)  # a random moment
        if self.rng.random() < 0.5:
            await self._kill_engine()
            return
        await asyncio.to_thread(self.service.kill)
        self.done["service killed"] += 1
        if self.rng.random() < 0.2:
            # During its start, too.
            await asyncio.to_thread(self.service.start, ready=False)
            await asyncio.sleep(self.rng.random() * 3)
            await asyncio.to_thread(self.service.kill)
        await self._start()

    async def _kill_engine(self) -> None:
        """Kill the process of one device; the other one draws on."""
        children = psutil.Process(self.service.process.pid).children(recursive=True)
        if children:
            self.rng.choice(children).kill()
            self.done["engine killed"] += 1

    async def _kill_after_a_message(self) -> None:
        """Kill the service after a message arrived and before it stores the message's id."""
        sent = len(self.telegram.calls)
        self.telegram.held.add("sendMessage")
        await self._chat_draw()
        await self.telegram.until(lambda: "sendMessage" in {method for method, _ in self.telegram.calls[sent:]}, WAIT)
        await asyncio.to_thread(self.service.kill)
        self.telegram.answer("sendMessage")
        self.done["service killed after a message"] += 1
        await self._start()

    async def _start(self) -> None:
        await asyncio.to_thread(self.service.start, ready=False)
        await asyncio.to_thread(until, lambda: self.service.status("/healthz") == 200, 60, "/healthz")

    # The end.

    async def _settle(self) -> None:
        """Until every update is confirmed, every job has ended and everything is shown."""
        end = time.monotonic() + WAIT
        await self._send()
        while True:
            assert self.service.running, self.service.log
            jobs = self._open()
            with closing(self._db()) as db:
                messages = db.execute(
                    "SELECT count(*) FROM messages WHERE state IN ('opening', 'wanted', 'sending')"
                ).fetchone()[0]
            if not (jobs or messages or self.telegram.updates or self._unanswered):
                return
            assert time.monotonic() < end, (
                f"{jobs} jobs, {messages} messages and {len(self.telegram.updates)} updates are left\n"
                f"{self.service.log[-5000:]}"
            )
            await asyncio.sleep(0.2)
            await self._send()

    def _db(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{(self.service.data / 'easel.db').as_uri()}?mode=ro", uri=True, timeout=10)

    def check(self) -> None:
        """No job is lost, none is delivered or charged twice, the ledger is exact, disk and rows agree."""
        assert self.telegram.problems + self.faults == []
        with closing(self._db()) as db:
            self._check_requests(db)
            self._check_rows(db)
            self._check_chats(db)
            known = {path for (path,) in db.execute("SELECT path FROM pictures")}
        folder = self.service.data / "pictures"
        assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == known
        assert "Traceback" not in self.service.log, self.service.log[-5000:]

    def _check_requests(self, db: sqlite3.Connection) -> None:
        events = dict(db.execute("SELECT event, id FROM jobs"))
        assert {key: events.get(f"web:web:local:{key}") for key in self._answered} == self._answered
        told = {event for (event,) in db.execute("SELECT event FROM messages")}
        lost = [n for n in self._prompts if f"telegram:update:{n}" not in told | events.keys()]
        assert lost == [], "prompts in chats that became neither a job nor an answer"

    @staticmethod
    def _check_rows(db: sqlite3.Connection) -> None:
        wrong = db.execute(
            "SELECT id, state, count, attempts,"
            " (SELECT count(*) FROM pictures WHERE job_id = jobs.id) AS drawn,"
            " (SELECT sum(reserved) FROM ledger WHERE job_id = jobs.id) AS reserved,"
            " (SELECT sum(charged) FROM ledger WHERE job_id = jobs.id) AS charged,"
            " (SELECT count(*) FROM ledger WHERE job_id = jobs.id AND kind = 'reserve') AS reservations"
            " FROM jobs WHERE reservations != 1 OR reserved != 0 OR charged != drawn"
            " OR drawn != iif(state = 'delivered', count, 0)"
            # A job fails only after the last attempt.
            " OR (state = 'failed' AND attempts < 3)"
        ).fetchall()
        assert wrong == []

    def _check_chats(self, db: sqlite3.Connection) -> None:
        states = dict(db.execute("SELECT id, state FROM jobs"))
        counts = dict(db.execute("SELECT id, count FROM jobs"))
        unclear = {job for (job,) in db.execute("SELECT job_id FROM messages WHERE state IN ('unclear', 'gone')")}
        carded = {job for (job,) in db.execute("SELECT job_id FROM messages WHERE kind = 'card'")}
        shown: Counter[tuple[int, str]] = Counter()
        for chat in self.telegram.world.chats.values():
            shown.update(pair for message in chat.by_bot() if (pair := _pictured(message)) is not None)
        twice = [pair for pair, times in shown.items() if times > 1]
        assert twice == [], "pictures that were shown twice"
        cards = {job: len(sent) for job, sent in self.telegram.first_cards().items()}
        assert {job for job, times in cards.items() if times > 1} == set(), "jobs with more than one first card"
        by_job = Counter(job for job, _ in shown)
        missing = {
            job: (states[job], counts[job], by_job[job])
            for job in carded - unclear
            if by_job[job] != (counts[job] if states[job] == "delivered" else 0)
        }
        assert missing == {}, f"jobs whose pictures are not all there, or are there though they were stopped: {missing}"


def _pictured(message: Msg) -> tuple[int, str] | None:
    """Return the job of the picture that a message shows, and its name."""
    name = None if message.photo is None else _NAME.fullmatch(message.photo.name)
    return None if name is None else (int(name[1]), name[0])
