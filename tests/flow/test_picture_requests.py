"""Requests with pictures on a platform: fetched once they are saved, drawn once, and never lost by a kill."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from bot.cards.i18n import text
from bot.core.access import AccessMode, Owners
from bot.core.errors import BadInput, NotAllowed, OverQuota, Unavailable, Uninvited
from bot.core.jobs import Job
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm, PictureSource, PictureUse
from bot.delivery.service import bind_answer
from bot.drawing import picture_requests, store
from bot.drawing.picture_requests import MAX_WAITING, SavedRequest
from bot.privacy.deletion import forget
from bot.privacy.store import exports
from bot.storage import jobs
from tests.fakes.editing import EDITOR, PLAIN
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import BLUE, RED, bomb, picture
from tests.fakes.surface import ABLE_SAFE, Call, Fault
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

PLACE = Place("chat", None, CHAT)
_events = itertools.count(1)


def editor() -> FakeEngine:
    return FakeEngine((PLAIN, EDITOR), edit_model="editor")


def form(prompt: str = "make it night", *files: str, **more: Any) -> DrawForm:
    return DrawForm(prompt, sources=tuple(PictureSource(name, name) for name in files or ("one",)), **more)


async def send(bot: Bot, asked: DrawForm, *, user: str = "1", event: str = "", answered: bool = False) -> EventRef:
    ref = EventRef(event or f"chat:p{next(_events)}", Address("chat", CHAT, user=user), answered)
    saved = await picture_requests.save(bot.ctx, bot.actor(user), PLACE, asked, ref)
    assert isinstance(saved, SavedRequest)
    return ref


async def job_of(bot: Bot, ref: EventRef) -> Job:
    found: list[Job] = []

    async def there() -> bool:
        async with bot.db.read() as tx:
            job = await jobs.by_event(tx, ref.event)
        found.extend([] if job is None else [job])
        return bool(found)

    await bot.until(there)
    return found[0]


async def waiting(bot: Bot) -> int:
    async with bot.db.read() as tx:
        return len(await store.waiting(tx, ("chat",)))


async def ended(bot: Bot) -> None:
    async def none() -> bool:
        return not await waiting(bot)

    await bot.until(none)
    await bot.quiet()


def said(bot: Bot) -> list[str]:
    """What each message of the chats says now."""
    return [s.card.status for n, s in bot.chats.messages.items() if s.card is not None and n not in bot.chats.deleted]


async def test_a_picture_is_fetched_and_edited_and_its_card_becomes_the_jobs(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture(96, 64, RED)
    ref = await send(bot, form())
    job = await job_of(bot, ref)
    await bot.delivered(job.id)
    assert (job.request.model, len(job.request.references), job.request.image) == ("editor", 1, "")
    (shown,) = bot.chats.shown(job.id)
    assert shown.card is not None
    assert shown.card.final
    assert len(bot.chats.pictures(job.id)) == 1
    await ended(bot)


async def test_the_card_that_says_so_is_edited_once_it_is_in_the_chat(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    bot.surface.plan(Call.FETCH, Fault.BUSY)
    ref = await send(bot, form())
    await bot.until(lambda: "Fetching your picture." in said(bot))
    job = await job_of(bot, ref)
    await bot.delivered(job.id)
    (seen,) = bot.chats.messages.values()
    assert seen.first is not None
    assert (seen.first.status, seen.first.prompt, seen.edits > 0) == ("Fetching your picture.", "make it night", True)


async def test_where_no_model_edits_the_picture_is_the_start(make: Make) -> None:
    bot = await make()
    bot.chats.sent["one"] = picture()
    job = await job_of(bot, await send(bot, form("a cat --strength 0.4")))
    assert (bool(job.request.image), job.request.strength, job.request.references) == (True, 0.4, ())


@pytest.mark.parametrize(
    ("asked", "use"),
    [
        (form("a cat"), PictureUse.EDIT),
        (form("a cat", "one", "two"), PictureUse.EDIT),
        (form("a cat --strength 0.5"), PictureUse.START),
        (form("a cat --model editor"), PictureUse.EDIT),
        (form(f"a cat --model {PLAIN.name}"), PictureUse.START),
        (form("a cat", use=PictureUse.START), PictureUse.START),
    ],
)
async def test_what_a_picture_becomes(make: Make, asked: DrawForm, use: PictureUse) -> None:
    bot = await make(engine=editor())
    assert picture_requests.choose_use(bot.ctx, asked) is use


async def test_several_pictures_are_references_in_their_order(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent |= {"one": picture(96, 64, RED), "two": picture(64, 96, BLUE)}
    first = await job_of(bot, await send(bot, form("join them", "one", "two")))
    second = await job_of(bot, await send(bot, form("join them", "two", "one")))
    assert first.request.references == second.request.references[::-1]
    assert len(first.request.references) == 2


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        (form(" "), "refusal.pictures.words"),
        (form("a cat", "1", "2", "3", "4", "5"), "refusal.references.limit"),
        (form("a cat", "1", "2", "3", "4"), "refusal.references.too_many"),
        (form("a cat", "1", "2", use=PictureUse.START), "refusal.pictures.one"),
        (form("a cat --sede 7"), "refusal.flag.unknown"),
        (form("a cat", size="7x7"), "refusal.size.too_small"),
        (DrawForm("a cat", sources=(PictureSource("1", "1", 33 * 2**20),)), "refusal.pictures.too_large"),
        (
            DrawForm("a cat", sources=tuple(PictureSource(n, n, 30 * 2**20) for n in "123")),
            "refusal.pictures.too_large_together",
        ),
    ],
)
async def test_what_can_be_refused_without_the_pictures_is(make: Make, asked: DrawForm, key: str) -> None:
    bot = await make(engine=editor())
    with pytest.raises(BadInput) as refused:
        await send(bot, asked)
    assert refused.value.key == key
    assert (await waiting(bot), bot.surface.calls) == (0, [])


async def test_several_pictures_without_a_model_that_edits(make: Make) -> None:
    bot = await make()
    with pytest.raises(BadInput) as refused:
        await send(bot, form("a cat", "one", "two"))
    assert refused.value.key == "refusal.pictures.one"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "Picture 1 can't be fetched any more; send it again."),
        (
            b"this is no picture",
            "Reference picture 1 can't be read; send a PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF file.",
        ),
        (bomb(), "Reference picture 1 has more than 50 million pixels; make it smaller."),
        (b"\0" * (32 * 2**20 + 1), "Picture 1 has more than 32 MB; send a smaller one."),
    ],
)
async def test_a_picture_that_is_none_is_answered_in_place(make: Make, data: bytes | None, sentence: str) -> None:
    bot = await make(engine=editor())
    if data is not None:
        bot.chats.sent["one"] = data
    bot.surface.plan(Call.FETCH, Fault.BUSY)
    await send(bot, form())
    await bot.until(lambda: said(bot) == ["Fetching your picture."])
    await ended(bot)
    assert said(bot) == [sentence]
    assert await nothing_kept(bot)


async def nothing_kept(bot: Bot) -> bool:
    async with bot.db.read() as tx:
        counts = [
            next(iter(await tx.execute_fetchall(f"SELECT count(*) FROM {table}")))[0]
            for table in ("jobs", "ledger", "picture_requests")
        ]
    inputs = bot.folder / "inputs"
    return counts == [0, 0, 0] and not (inputs.is_dir() and list(inputs.iterdir()))


async def test_a_deleted_card_is_no_reason_to_say_nothing(make: Make) -> None:
    bot = await make(engine=editor())
    bot.surface.plan(Call.FETCH, *[Fault.BUSY] * 3)
    await send(bot, form())
    await bot.until(lambda: bool(said(bot)))
    bot.chats.deleted |= set(bot.chats.messages)
    await ended(bot)
    assert said(bot) == ["Picture 1 can't be fetched any more; send it again."]


async def test_a_platform_that_hands_nothing_out_is_not_waited_for_without_end(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    bot.surface.plan(Call.FETCH, *[Fault.BUSY] * 100)
    await send(bot, form())
    await ended(bot)
    assert said(bot) == ["The pictures could not be fetched in time; send them again later."]


async def test_a_refusal_that_can_not_be_saved_at_first_is_shown_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await make(engine=editor())
    bot.surface.plan(Call.FETCH, *[Fault.BUSY] * 100)
    delete = store.delete
    failed: list[str] = []

    async def full(*given: Any) -> bool:
        if len(failed) < 2:
            failed.append("")
            raise Unavailable("unavailable.disk_full")
        return await delete(*given)

    monkeypatch.setattr(store, "delete", full)
    await send(bot, form())
    await ended(bot)
    assert len(failed) == 2
    assert said(bot) == ["The pictures could not be fetched in time; send them again later."]


async def test_an_unexpected_error_is_answered_and_other_requests_go_on(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["two"] = picture()
    fetch = bot.surface.fetch

    async def strange(source: PictureSource, limit: int) -> bytes:
        if source.id == "one":
            raise RuntimeError("strange")
        return await fetch(source, limit)

    monkeypatch.setattr(bot.surface, "fetch", strange)
    await send(bot, form())
    await ended(bot)
    assert said(bot) == [text("en", "refusal.unavailable.internal")]
    assert "strange" in caplog.text
    job = await job_of(bot, await send(bot, form("make it day", "two"), user="2"))
    await bot.delivered(job.id)


async def test_the_same_event_is_one_request_and_one_job(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    bot.surface.plan(Call.FETCH, Fault.BUSY)
    for _ in range(3):
        await send(bot, form(), event="same")
    assert await waiting(bot) == 1
    job = await job_of(bot, EventRef("same"))
    ref = EventRef("same", Address("chat", CHAT, user="1"))
    again = await picture_requests.save(bot.ctx, bot.actor(), PLACE, form(), ref)
    assert isinstance(again, Job)
    assert again.id == job.id
    await bot.delivered(job.id)
    assert len(bot.chats.messages) == 1


async def test_the_adapters_own_answer_becomes_the_card(make: Make) -> None:
    bot = await make(able=ABLE_SAFE, engine=editor())
    bot.chats.sent["one"] = picture()
    ref = await send(bot, form(), answered=True)
    job = await job_of(bot, ref)
    await bot.quiet()
    assert not bot.chats.messages, "the adapter has not answered yet"
    card = picture_requests.waiting_card(bot.actor(), form(), job.request)
    sent = await bot.surface.send(Address("chat", CHAT, user="1"), card, "answer")
    await bind_answer(bot.ctx, None, ref, sent)
    await bot.delivered(job.id)
    (seen,) = bot.chats.messages.values()
    assert seen.card is not None
    assert (seen.card.job_id, len(bot.chats.pictures(job.id))) == (job.id, 1)


async def test_a_refusal_before_the_adapters_answer_is_shown_in_it(make: Make) -> None:
    bot = await make(able=ABLE_SAFE, engine=editor())
    ref = await send(bot, form(), answered=True)
    await ended(bot)
    card = replace(picture_requests.waiting_card(bot.actor(), form(), (await _some_request(bot))), prompt="x")
    sent = await bot.surface.send(Address("chat", CHAT, user="1"), card, "answer")
    await bind_answer(bot.ctx, None, ref, sent)
    await bot.quiet()
    assert said(bot)[-1:] == ["Picture 1 can't be fetched any more; send it again."]


async def _some_request(bot: Bot) -> Any:
    return (await bot.ask(user="9", shown=False)).request


# Kills.


async def test_a_kill_before_the_download_loses_nothing(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    bot.surface.plan(Call.FETCH, Fault.KILLED_BEFORE)
    ref = await send(bot, form())
    await bot.until(bot.surface.killed.is_set)
    await bot.restart()
    job = await job_of(bot, ref)
    await bot.delivered(job.id)
    assert (len(bot.chats.shown(job.id)), len(bot.chats.pictures(job.id))) == (1, 1)


async def test_a_kill_between_the_job_and_the_row_makes_no_second_job(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    reached = asyncio.Event()

    async def killed(*_: object) -> bool:
        reached.set()
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", killed)
        ref = await send(bot, form())
        await bot.until(reached.is_set)
        await bot.kill()
    await bot.start()
    job = await job_of(bot, ref)
    await bot.delivered(job.id)
    await ended(bot)
    assert bot.surface.calls.count(Call.FETCH) == 1
    async with bot.db.read() as tx:
        assert len(await jobs.of_person(tx, job.person_id, limit=9)) == 1


async def test_pictures_that_end_the_process_are_given_up(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    bot.surface.plan(Call.FETCH, *[Fault.KILLED_BEFORE] * 9)
    await send(bot, form())
    for n in range(1, picture_requests.MAX_TRIES + 1):
        await bot.until(lambda n=n: bot.surface.calls.count(Call.FETCH) == n)  # type: ignore[misc]
        async with bot.db.write() as tx:
            # A process that is really killed does not take its try back.
            await tx.execute_fetchall("UPDATE picture_requests SET tries = ?", (n + 1,))
        await bot.restart()
    await ended(bot)
    assert len(said(bot)) == 1
    assert "Fetching" not in said(bot)[0]


# Who.


async def test_nothing_is_fetched_for_strangers(make: Make) -> None:
    bot = await make(engine=editor())
    bot.access["chat"] = AccessMode.APPROVE
    bot.owners = Owners({"chat": frozenset({"7"})})
    await bot.restart()
    with pytest.raises(Uninvited) as refused:
        await send(bot, form())
    assert refused.value.key == "refusal.access.pictures"
    await bot.until(lambda: any("user 1" in str(s.card) for s in bot.chats.messages.values()))
    assert Call.FETCH not in bot.surface.calls


async def test_nothing_is_fetched_for_somebody_who_is_banned_meanwhile(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent["one"] = picture()
    bot.surface.plan(Call.FETCH, Fault.BUSY)
    await send(bot, form())
    await bot.until(lambda: bot.surface.calls.count(Call.FETCH) == 1)
    async with bot.db.write() as tx:
        await tx.execute_fetchall(
            "INSERT INTO bans (platform, user_id, set_by, set_at) VALUES ('chat', '1', 'owner', 0)"
        )
    await ended(bot)
    assert bot.surface.calls.count(Call.FETCH) == 1
    assert await nothing_kept(bot)
    with pytest.raises(NotAllowed):
        await send(bot, form())


async def test_too_many_waiting_requests_and_used_up_quotas_are_refused(make: Make) -> None:
    bot = await make(engine=editor())
    bot.surface.plan(Call.FETCH, *[Fault.BUSY] * 100)
    for _ in range(MAX_WAITING):
        await send(bot, form())
    with pytest.raises(OverQuota) as refused:
        await send(bot, form())
    assert refused.value.key == "refusal.pictures.waiting"
    await send(bot, form(), user="2")
    for n in range(13):
        await bot.ask(f"apple {n}", user="3", count="4" if n < 12 else "2")
    with pytest.raises(OverQuota):
        await send(bot, form(), user="3")


async def test_a_slow_picture_keeps_nobody_else_waiting(make: Make) -> None:
    bot = await make(engine=editor())
    bot.chats.sent |= {"one": picture(), "two": picture()}
    bot.surface.plan(Call.FETCH, Fault.KILLED_BEFORE)  # it never returns
    await send(bot, form(), user="1")
    await bot.until(bot.surface.killed.is_set)
    job = await job_of(bot, await send(bot, form("make it day", "two"), user="2"))
    assert job.request.typed == "make it day"


# Albums.


async def add(bot: Bot, name: str, words: str = "", *, begins: bool = True) -> EventRef:
    ref = EventRef("chat:album:1", Address("chat", CHAT, user="1"))
    await picture_requests.add_to_album(bot.ctx, bot.actor(), PLACE, form(words, name), ref, begins=begins)
    return ref


@pytest.mark.parametrize("worded", [0, 1, 2])
async def test_an_album_is_one_request_whichever_picture_has_the_words(make: Make, worded: int) -> None:
    bot = await make(engine=editor())
    bot.chats.sent |= {str(n): picture(64 + 16 * n, 64) for n in range(3)}
    for n in range(3):
        ref = await add(bot, str(n), "join them" if n == worded else "")
    job = await job_of(bot, ref)
    assert (len(job.request.references), job.request.typed) == (3, "join them")
    await add(bot, "0")
    await bot.delivered(job.id)
    assert len(bot.chats.messages) == 1


async def test_an_album_without_words_is_asked_for_them(make: Make) -> None:
    bot = await make(engine=editor())
    for n in range(2):
        await add(bot, str(n))
    assert await waiting(bot) == 1
    await ended(bot)
    assert said(bot) == [text("en", "refusal.pictures.words")]
    assert Call.FETCH not in bot.surface.calls


async def test_too_many_pictures_of_an_album_are_one_clear_sentence(make: Make) -> None:
    bot = await make(engine=editor())
    for n in range(7):
        await add(bot, str(n), "" if n else "join them")
    await ended(bot)
    assert said(bot) == [text("en", "refusal.references.limit", n=4, count=7)]


async def test_an_album_that_nobody_addressed_is_not_kept(make: Make) -> None:
    bot = await make(engine=editor())
    await add(bot, "0", begins=False)
    assert await waiting(bot) == 0


# Privacy.


async def test_forgetting_ends_them_and_an_export_has_them(make: Make) -> None:
    bot = await make(engine=editor())
    bot.surface.plan(Call.FETCH, *[Fault.BUSY] * 100)
    await send(bot, form("a secret wish"))
    await bot.until(lambda: said(bot) == ["Fetching your picture."])
    async with bot.db.read() as tx:
        found = await exports.person(tx, 1)
    assert "a secret wish" in str(found["picture_requests"])
    await forget(bot.ctx, bot.actor())
    await ended(bot)
    assert said(bot) == [text("en", "card.forgotten")]
    assert "secret" not in str(bot.chats.messages["1"].card)
    async with bot.db.read() as tx:
        assert "secret" not in str([tuple(row) for row in await tx.execute_fetchall("SELECT * FROM messages")])
