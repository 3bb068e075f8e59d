"""Claiming the bot: by a code from the machine it runs on, and it counts at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.access.claims import OWNER, claim, claim_code, refresh_owners
from bot.access.store.codes import ATTEMPTS_SECONDS, CLAIM_TRIES
from bot.audit import changes
from bot.audit import store as audit_rows
from bot.cards import i18n
from bot.commands.model import Invocation
from bot.context import AppContext
from bot.core.access import AccessMode, Owners
from bot.core.errors import BadInput, NotAllowed
from bot.core.people import Actor
from bot.core.requests import DrawForm
from bot.drawing.admission import draw
from bot.features import COMMANDS
from tests.unit.bot.conftest import ADA, ALONE, World, ref, run

COMMAND = COMMANDS.by_name


@pytest.fixture
def unowned(world: World) -> AppContext:
    return replace(world.ctx, owners=Owners({"chat": ()}), access_modes={"chat": AccessMode.APPROVE})


async def test_the_right_code_makes_an_owner_at_once(world: World, unowned: AppContext) -> None:
    owners = unowned.owners.of("chat")
    assert ADA.user_id not in owners
    typed = await claim_code(unowned.db, unowned.clock)
    call = Invocation(ADA, ALONE, COMMAND["claim"], ref(), {"code": typed})
    card = await run(unowned, call)
    assert card.status == i18n.text("en", "card.claimed")
    assert ADA.user_id in owners
    assert unowned.owners.everybody() == (("chat", "1"),)
    # Whoever is there now can be told who has waited for an owner.
    assert world.backlog.asks == 1
    async with unowned.db.read() as tx:
        (entry,) = await audit_rows.recent(tx)
    assert (entry.actor, entry.action) == ("chat:1", "claim")
    # The code is in no row in the clear.
    assert typed.replace("-", "") not in str(entry)


async def test_a_wrong_code_says_how_many_tries_are_left(world: World, unowned: AppContext) -> None:
    typed = await claim_code(unowned.db, unowned.clock)
    for left in (4, 3, 2, 1):
        with pytest.raises(BadInput) as caught:
            await claim(unowned, ADA, "AAAA-AAAA")
        assert (caught.value.key, caught.value.params) == ("refusal.claim.wrong", {"n": left})
    for wrong in ("AAAA-AAAA", typed):
        with pytest.raises(NotAllowed) as waits:
            await claim(unowned, ADA, wrong)
        assert (waits.value.key, waits.value.params) == ("refusal.claim.wait", {"wait": ATTEMPTS_SECONDS})
    assert "1" not in unowned.owners.of("chat")
    world.clock.advance(ATTEMPTS_SECONDS)
    assert await claim(unowned, ADA, await claim_code(unowned.db, unowned.clock))


async def test_strangers_who_guess_do_not_end_the_owners_code(world: World, unowned: AppContext) -> None:
    typed = await claim_code(unowned.db, unowned.clock)
    for n in range(CLAIM_TRIES):
        with pytest.raises((BadInput, NotAllowed)):
            await claim(unowned, Actor("chat", f"stranger {n // 2}"), "AAAA-AAAA")
    # From now on everybody has a single try, so that many accounts guess no more than once each.
    for again in (False, True):
        with pytest.raises(NotAllowed) as caught:
            await claim(unowned, Actor("chat", "one more"), typed if again else "AAAA-AAAA")
        assert caught.value.key == "refusal.claim.wait"
    assert await claim(unowned, ADA, typed)
    assert unowned.owners.ids("chat") == {"1"}


async def test_without_a_code_no_guess_is_counted(unowned: AppContext) -> None:
    for _ in range(9):
        with pytest.raises(BadInput) as caught:
            await claim(unowned, ADA, "AAAA-AAAA")
        assert caught.value.key == "refusal.claim.none"


async def test_a_code_is_too_old_after_ten_minutes_and_used_once(world: World, unowned: AppContext) -> None:
    typed = await claim_code(unowned.db, unowned.clock)
    world.clock.advance(600)
    with pytest.raises(BadInput):
        await claim(unowned, ADA, typed)
    typed = await claim_code(unowned.db, unowned.clock)
    assert await claim(unowned, ADA, typed.lower())
    with pytest.raises(BadInput):
        await claim(unowned, Actor("chat", "2"), typed)
    assert unowned.owners.ids("chat") == {"1"}


async def test_owners_need_no_code_and_use_none_up(unowned: AppContext) -> None:
    typed = await claim_code(unowned.db, unowned.clock)
    assert not await claim(unowned, replace(ADA, is_owner=True), typed)
    assert await claim(unowned, Actor("chat", "2", "Bob"), typed)


async def test_a_claim_can_be_undone(world: World, unowned: AppContext) -> None:
    await claim(unowned, ADA, await claim_code(unowned.db, unowned.clock))
    async with unowned.db.write() as tx:
        (entry,) = await audit_rows.recent(tx)
        await changes.undo_change(tx, entry.id, {OWNER.name: OWNER}, None, by="operator", now=world.clock.now())
    await refresh_owners(unowned.db, unowned.owners)
    assert "1" not in unowned.owners.of("chat")


async def test_studio_hands_out_owners_that_are_live(world: World) -> None:
    owners = world.studio.owners("chat")
    world.studio.add_owners("chat", ["1"])
    assert "1" in owners
    assert "1" not in world.studio.owners("other")
    world.studio.add_owners("chat", ["2"])
    assert "1" not in owners


async def test_the_settings_owners_stay_whatever_the_platform_says(world: World) -> None:
    owners = Owners({"chat": ("7",), "other": ()})
    owners.told("chat", ("8",))
    owners.claimed([("chat", "9"), ("other", "1"), ("off", "5")])
    assert owners.ids("chat") == {"7", "8", "9"}
    owners.told("chat", ())
    assert owners.ids("chat") == {"7", "9"}
    # Platforms that are off are told nothing.
    assert owners.everybody() == (("chat", "7"), ("chat", "9"), ("other", "1"))


async def test_a_stranger_who_claims_draws_at_once(unowned: AppContext) -> None:
    await claim(unowned, ADA, await claim_code(unowned.db, unowned.clock))
    actor = replace(ADA, is_owner=ADA.user_id in unowned.owners.of("chat"))
    job = await draw(unowned, actor, ALONE, DrawForm("a cat"), ref("e"))
    assert job.state == "queued"


async def test_a_request_from_before_the_claim_is_admitted(world: World, unowned: AppContext) -> None:
    job = await draw(unowned, ADA, ALONE, DrawForm("a cat"), ref("e"))
    await claim(unowned, ADA, await claim_code(unowned.db, unowned.clock))
    assert (await world.job(job.id)).state == "queued"
