"""Prompts that the engine writes, longer ones and what pictures show: shown before they are drawn, never lost, limited for each person."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest

from bot.cards.i18n import text
from bot.commands.model import YES, CommandResult, Invocation
from bot.core.cards import ButtonPress, Card
from bot.core.errors import BadInput, NotFound, OverQuota
from bot.core.jobs import Job
from bot.core.messages import Address, EventRef
from bot.core.people import Place
from bot.core.requests import MAX_PICTURE_BYTES, DrawForm, PictureSource
from bot.drawing import drafts, store
from bot.drawing.drafts import DRAW, EDIT, MAX_WAITING, MOST, MOST_SECONDS, STOP
from bot.drawing.picture_requests import SavedRequest
from bot.features import COMMANDS
from bot.privacy.deletion import DAY, forget
from bot.privacy.store import exports
from bot.runner import run
from engine.contract import EngineError
from engine.families.z_image.spec import demo
from tests.fakes.engine import FakeEngine
from tests.fakes.source_images import RED, picture
from tests.fakes.surface import Call, Fault
from tests.flow.conftest import Make
from tests.flow.harness import CHAT, Bot

PLACE = Place("chat", None, CHAT)
WRITES = replace(demo(), expands=True)
_events = itertools.count(1)


class Gate:
    """Lets the engine go on when it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


def writer(pause: Gate | None = None) -> FakeEngine:
    return FakeEngine((WRITES,)) if pause is None else FakeEngine((WRITES,), pause)


def ref_of(bot: Bot, user: str = "1") -> EventRef:
    return EventRef(f"chat:t{next(_events)}", Address("chat", CHAT, user=user))


async def send(bot: Bot, prompt: str = "a red cat --expand", user: str = "1") -> EventRef:
    ref = ref_of(bot, user)
    saved = await drafts.draw(bot.ctx, bot.actor(user), PLACE, DrawForm(prompt), ref)
    assert isinstance(saved, SavedRequest)
    return ref


async def press(bot: Bot, pressed: ButtonPress, user: str = "1", values: dict[str, str] | None = None) -> CommandResult:
    command = COMMANDS.by_action[pressed.action]
    return await run(
        bot.ctx, Invocation(bot.actor(user), PLACE, command, ref_of(bot, user), press=pressed, submitted=values)
    )


def cards(bot: Bot) -> list[Card]:
    return [s.card for n, s in bot.chats.messages.items() if s.card is not None and n not in bot.chats.deleted]


async def written(bot: Bot) -> Card:
    """Wait for the newest message to show a prompt; return its card."""
    await bot.until(lambda: cards(bot) and cards(bot)[-1].status == text("en", "card.expanded"))
    return cards(bot)[-1]


async def shown(bot: Bot, count: int) -> None:
    """Wait until ``count`` prompts are written."""
    await bot.until(lambda: [card.status for card in cards(bot)].count(text("en", "card.expanded")) == count)


async def says(bot: Bot, key: str, **params: str) -> None:
    await bot.until(lambda: text("en", key, **params) in [card.status for card in cards(bot)])


def button(card: Card, action: str) -> ButtonPress:
    return next(one.press for row in card.buttons for one in row if one.press.action == action)


async def drawn(bot: Bot, result: CommandResult) -> Job:
    assert result.new is not None, result
    await bot.delivered(result.new.id)
    return result.new


async def test_the_longer_prompt_is_shown_and_then_drawn_with_the_flags_of_the_request(make: Make) -> None:
    bot = await make(engine=writer())
    await send(bot, "a red cat --expand --size 256x144 --seed 9")
    card = await written(bot)
    assert card.prompt.startswith("a red cat, in ")
    job = await drawn(bot, await press(bot, button(card, DRAW)))
    assert job.request.typed == card.prompt
    assert (job.request.width, job.request.height, job.request.seed) == (256, 144, 9)


async def test_the_card_says_that_it_is_written_and_is_edited(make: Make) -> None:
    gate = Gate()
    bot = await make(engine=writer(gate))
    await send(bot)
    await says(bot, "card.expanding")
    gate.open.set()
    await written(bot)
    assert len(bot.chats.messages) == 1


async def test_whose_requests_are_private_by_their_settings_is_shown_a_private_prompt(make: Make) -> None:
    bot = await make(engine=writer())
    bot.ctx.preferences.load({("chat", "1"): {"private": YES}}, {})
    await send(bot)
    card = await written(bot)
    assert card.private
    await press(bot, button(card, STOP))
    await says(bot, "card.expanded.stopped")
    assert cards(bot)[-1].private


async def test_the_button_of_a_finished_card_writes_for_its_job_and_keeps_its_seed(make: Make) -> None:
    bot = await make(engine=writer())
    job = await bot.ask("a red cat --seed 5 --steps 3")
    await bot.delivered(job.id)
    assert "richer" in COMMANDS.job_buttons
    again = []
    for _ in range(2):
        assert (await press(bot, ButtonPress("richer", job.id))).card is not None
        again.append((await written(bot)).prompt)
        await bot.quiet()
    assert again[0] == again[1]
    child = await drawn(bot, await press(bot, button(await written(bot), DRAW)))
    assert (child.request.typed, child.request.seed, child.request.steps) == (again[0], 5, 3)
    assert child.parent_id == job.id


async def test_it_is_changed_in_a_form_before_it_is_drawn(make: Make) -> None:
    bot = await make(engine=writer())
    await send(bot, "a red cat --expand --steps 3")
    card = await written(bot)
    form = (await press(bot, button(card, EDIT))).form
    assert form is not None
    assert form.fields[0].value == card.prompt
    assert form.line.startswith(f"/draw {card.prompt} --")
    job = await drawn(bot, await press(bot, form.press, values={"prompt": "a blue dog"}))
    assert (job.request.typed, job.request.steps) == ("a blue dog", 3)


async def test_two_quick_presses_draw_once(make: Make) -> None:
    bot = await make(engine=writer())
    await send(bot)
    draw = button(await written(bot), DRAW)
    first, second = await press(bot, draw), await press(bot, draw)
    assert first.new is not None
    assert (second.new, second.notice) == (None, text("en", "studio.press.repeated"))
    await drawn(bot, first)


async def test_cancel_stops_the_writing(make: Make) -> None:
    gate = Gate()
    bot = await make(engine=writer(gate))
    await send(bot)
    await bot.until(lambda: gate.reached.is_set() and cards(bot))
    await press(bot, button(cards(bot)[-1], STOP))
    await says(bot, "card.expanded.stopped")
    await bot.until(lambda: not bot.engine._texts)
    gate.open.set()
    await send(bot, "a blue dog --expand")
    assert (await written(bot)).prompt.startswith("a blue dog")


async def test_a_written_prompt_can_be_dropped_and_is_gone_then(make: Make) -> None:
    bot = await make(engine=writer())
    await send(bot)
    card = await written(bot)
    await press(bot, button(card, STOP))
    await says(bot, "card.expanded.stopped")
    with pytest.raises(NotFound):
        await press(bot, button(card, DRAW))


async def test_others_can_t_press_its_buttons(make: Make) -> None:
    bot = await make(engine=writer())
    await send(bot)
    card = await written(bot)
    for action in (DRAW, EDIT, STOP):
        with pytest.raises(NotFound):
            await press(bot, button(card, action), user="2")


async def test_a_kill_loses_nothing(make: Make) -> None:
    gate = Gate()
    bot = await make(engine=writer(gate))
    await send(bot)
    await bot.until(gate.reached.is_set)
    await bot.restart()
    gate.open.set()
    assert (await written(bot)).prompt.startswith("a red cat, in ")


async def test_a_lost_engine_writes_again_and_one_that_is_lost_with_it_gives_up(make: Make) -> None:
    gate = Gate()
    bot = await make(engine=writer(gate))
    await send(bot)
    for _ in range(3):
        await bot.until(gate.reached.is_set)
        gate.reached.clear()
        await bot.engine.lose()
        await bot.engine.recover()
    await says(bot, "refusal.expand.failed")
    gate.open.set()
    await send(bot, "a blue dog --expand")
    await written(bot)


async def test_a_broken_engine_says_that_it_was_not_written(make: Make) -> None:
    bot = await make(engine=writer())
    await bot.engine.break_down(EngineError("Broken."))
    await send(bot)
    await says(bot, "refusal.expand.failed")


class Bold(FakeEngine):
    """Writes a word that is refused in public channels."""

    async def expand(self, model: str, prompt: str, *, seed: int = 0) -> str:
        return f"{await super().expand(model, prompt, seed=seed)}, nude"


async def test_a_text_with_words_that_are_not_drawn_here_is_not_shown(make: Make) -> None:
    bot = await make(engine=Bold((WRITES,)))
    await send(bot)
    await written(bot)
    ref, public = ref_of(bot), Place("chat", "guild", CHAT)
    await drafts.draw(bot.ctx, bot.actor(), public, DrawForm("a red cat --expand"), ref)
    await says(bot, "refusal.expand.words")
    async with bot.db.read() as tx:
        assert not list(await tx.execute_fetchall("SELECT 1 FROM strikes"))


async def test_each_person_may_have_some_written_and_not_more(make: Make) -> None:
    gate = Gate()
    bot = await make(engine=writer(gate))
    for _ in range(MAX_WAITING):
        await send(bot)
    with pytest.raises(OverQuota):
        await send(bot)
    await send(bot, user="2")
    gate.open.set()
    for count in range(MAX_WAITING + 1, MOST + 1):
        await shown(bot, count)
        await send(bot)
    with pytest.raises(OverQuota) as refused:
        await send(bot)
    assert refused.value.key == "refusal.expand.often"
    bot.clock.advance(MOST_SECONDS)
    await send(bot)
    await written(bot)


async def test_nothing_of_the_quota_is_used(make: Make) -> None:
    bot = await make(engine=writer())
    await send(bot)
    await written(bot)
    async with bot.db.read() as tx:
        assert not list(await tx.execute_fetchall("SELECT 1 FROM ledger"))


async def test_where_nothing_writes_one_sentence_says_what_to_set(make: Make) -> None:
    bot = await make()
    with pytest.raises(BadInput) as refused:
        await send(bot)
    assert "EASEL_TEXT_MODEL" in text("en", refused.value.key, **refused.value.params)
    job = await bot.ask("a red cat")
    await bot.delivered(job.id)
    with pytest.raises(BadInput):
        await press(bot, ButtonPress("richer", job.id))
    (shown,) = bot.chats.shown(job.id)
    assert shown.card is not None
    assert "richer" not in {one.press.action for one in shown.card.more}


async def test_without_a_chat_it_is_refused(make: Make) -> None:
    bot = await make(engine=writer())
    with pytest.raises(BadInput):
        await drafts.draw(bot.ctx, bot.actor("1"), PLACE, DrawForm("a cat", expand=True), EventRef("page:1"))


async def test_what_is_forgotten_is_gone_from_rows_and_chat(make: Make) -> None:
    bot = await make(engine=writer())
    ref = await send(bot)
    await written(bot)
    async with bot.db.read() as tx:
        draft = await store.prompt_by_event(tx, ref.event)
        assert draft is not None
        assert draft.text in str((await exports.person(tx, 1))["prompt_drafts"])
    await forget(bot.ctx, bot.actor())
    async with bot.db.read() as tx:
        assert await store.prompt_by_event(tx, ref.event) is None
    await says(bot, "card.forgotten")
    assert not any(draft.text in (card.prompt or "") for card in cards(bot))


async def test_a_job_that_is_deleted_takes_the_prompt_along_that_is_written_from_it(make: Make) -> None:
    gate = Gate()
    gate.open.set()
    bot = await make(engine=writer(gate))
    job = await bot.ask("a red cat")
    await bot.delivered(job.id)
    gate.open.clear()
    await press(bot, ButtonPress("richer", job.id), user="2")
    await says(bot, "card.expanding")
    await press(bot, ButtonPress("deletenow", job.id))
    await says(bot, "card.forgotten")
    await bot.until(lambda: not bot.engine._texts)
    await bot.until(lambda: not any("a red cat" in card.prompt for card in cards(bot)))


async def test_a_prompt_that_others_have_made_of_ones_own_is_forgotten_with_it(make: Make) -> None:
    bot = await make(engine=writer())
    job = await bot.ask("a red cat")
    await bot.delivered(job.id)
    await press(bot, ButtonPress("richer", job.id), user="2")
    await written(bot)
    await forget(bot.ctx, bot.actor())
    await says(bot, "card.forgotten")
    async with bot.db.read() as tx:
        assert not list(await tx.execute_fetchall("SELECT 1 FROM prompt_drafts"))


async def test_after_a_day_the_service_drops_drafts_but_those_that_still_wait(make: Make) -> None:
    gate = Gate()
    gate.open.set()
    bot = await make(engine=writer(gate))
    await send(bot)
    await written(bot)
    gate.open.clear()
    waits = await send(bot)
    async with bot.db.write() as tx:
        await store.add_draft(tx, 1, DrawForm("", sources=(PictureSource("one", "one"),)), now=bot.clock.now())
    bot.clock.advance(DAY + 3601)

    async def dropped() -> bool:
        async with bot.db.read() as tx:
            rows = await tx.execute_fetchall("SELECT event FROM prompt_drafts UNION ALL SELECT '' FROM picture_drafts")
        return [row[0] for row in rows] == [waits.event]

    await bot.until(dropped)


async def look(bot: Bot, *pictures: PictureSource) -> EventRef:
    ref = ref_of(bot)
    command = COMMANDS.by_name["describe"]
    result = await run(bot.ctx, Invocation(bot.actor(), PLACE, command, ref, pictures=pictures))
    assert result.card is not None
    assert result.card.provisional
    return ref


async def test_a_picture_is_described_and_the_text_drawn(make: Make) -> None:
    bot = await make(engine=FakeEngine(describes=True))
    bot.chats.sent["one"] = picture(96, 64, RED)
    bot.surface.plan(Call.FETCH, Fault.BUSY)
    await look(bot, PictureSource("one", "one"))
    await says(bot, "card.described")
    card = cards(bot)[-1]
    assert card.prompt == "a picture of 96 by 64 pixels"
    job = await drawn(bot, await press(bot, button(card, DRAW)))
    assert (job.request.typed, job.request.image, job.request.references) == (card.prompt, "", ())


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        (b"no picture", "refusal.describe.unreadable"),
        (None, "refusal.pictures.gone"),
        (b"0" * (MAX_PICTURE_BYTES + 1), "refusal.pictures.too_large"),
    ],
)
async def test_a_picture_that_is_none_is_refused(make: Make, sent: bytes | None, key: str) -> None:
    bot = await make(engine=FakeEngine(describes=True))
    if sent is not None:
        bot.chats.sent["one"] = sent
    await look(bot, PictureSource("one", "one"))
    await says(bot, key, number="1", limit=str(MAX_PICTURE_BYTES // 2**20))


async def test_without_a_picture_or_a_model_one_sentence_says_what_to_do(make: Make) -> None:
    bot = await make(engine=FakeEngine(describes=True))
    with pytest.raises(BadInput) as refused:
        await look(bot)
    assert refused.value.key == "refusal.describe.pictures"
    command = COMMANDS.by_name["describe"]
    assert command.offered(bot.ctx)
    bot.ctx = replace(bot.ctx, can_describe=False)
    assert not command.offered(bot.ctx)
    with pytest.raises(BadInput) as refused:
        await look(bot, PictureSource("one", "one"))
    assert "EASEL_CAPTION_MODEL" in text("en", refused.value.key)
