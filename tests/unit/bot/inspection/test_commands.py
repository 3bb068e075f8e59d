"""The command ``inspect`` in chats: whose picture it reads, what it says to whom, and what is not fetched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.access.newcomers import UNLISTED
from bot.cards.i18n import text
from bot.commands.model import Invocation
from bot.context import DOWNLOAD_BURST
from bot.core.access import AccessMode
from bot.core.cards import Card
from bot.core.errors import Refusal
from bot.core.people import Actor, Place
from bot.core.requests import MAX_PICTURE_BYTES, PictureSource
from bot.features import COMMANDS
from bot.runner import run
from tests.fakes.source_images import picture
from tests.fakes.surface import Call, FakeSurface, Fault
from tests.unit.bot.conftest import ADA, ALONE, HERE, World, ref
from tests.unit.bot.provenance.marked_files import facts, marked

OWNER = Actor("chat", "9", "Olga", is_owner=True)
FOREIGN = text("en", "inspect.own.foreign")


class Asking:
    """A world with a platform that has some files."""

    def __init__(self, world: World) -> None:
        self.surface = FakeSurface()
        self.surface.chats.sent = {"marked": marked(facts()), "plain": picture(), "words": b"no picture"}
        self.ctx = world.ctx = replace(world.ctx, surfaces={"chat": self.surface})

    async def inspect(
        self, name: str = "marked", actor: Actor = ADA, place: Place = HERE, *, size: int = 0, private: bool = False
    ) -> Card:
        pictures = (PictureSource(name, name, size),) if name else ()
        event = ref(name)
        assert event.address is not None
        event = replace(event, address=replace(event.address, private=private))
        call = Invocation(actor, place, COMMANDS.by_name["inspect"], event, pictures=pictures)
        card = (await run(self.ctx, call)).card
        assert card is not None
        return card


@pytest.fixture
def asking(world: World) -> Asking:
    return Asking(world)


def said(card: Card) -> set[str]:
    return {fact.value for fact in card.facts}


async def test_a_picture_that_somebody_else_drew_is_read(asking: Asking) -> None:
    card = await asking.inspect()
    assert (card.status, card.prompt) == (text("en", "inspect.marked"), "a cat 猫 🐈")
    assert {"Z-Image-Turbo", text("en", "inspect.source.trainedAlgorithmicMedia"), "7"} <= said(card)
    assert card.notes == (text("en", "inspect.claims"),)
    plain = await asking.inspect("plain")
    assert plain.status == text("en", "inspect.unmarked")
    assert plain.notes == (text("en", "inspect.encoded_again"),)


async def test_only_owners_and_admins_learn_whether_it_was_drawn_here_and_nobody_beside_them(asking: Asking) -> None:
    admin = replace(ADA, is_admin=True)
    assert FOREIGN not in said(await asking.inspect(place=ALONE))
    assert FOREIGN not in said(await asking.inspect(actor=admin))
    assert FOREIGN in said(await asking.inspect(actor=admin, private=True))
    assert FOREIGN in said(await asking.inspect(actor=OWNER, place=ALONE))


@pytest.mark.parametrize(
    ("name", "size", "key"),
    [
        ("", 0, "refusal.inspect.pictures"),
        ("words", 0, "refusal.parameters.file"),
        ("gone", 0, "refusal.pictures.gone"),
        ("marked", MAX_PICTURE_BYTES + 1, "refusal.pictures.too_large"),
    ],
)
async def test_what_can_not_be_read_is_one_sentence(asking: Asking, name: str, size: int, key: str) -> None:
    with pytest.raises(Refusal) as refused:
        await asking.inspect(name, size=size)
    assert refused.value.key == key


async def test_a_chat_that_does_not_hand_it_out_is_asked_again_by_the_person(asking: Asking) -> None:
    asking.surface.plan(Call.FETCH, Fault.BUSY)
    with pytest.raises(Refusal) as refused:
        await asking.inspect()
    assert refused.value.key == "unavailable.inspect"
    assert (await asking.inspect()).status == text("en", "inspect.marked")
    asking.ctx = replace(asking.ctx, surfaces={})
    with pytest.raises(Refusal) as refused:
        await asking.inspect()
    assert refused.value.key == "unavailable.inspect"


async def test_nothing_is_fetched_for_strangers_nor_again_and_again(asking: Asking) -> None:
    for _ in range(DOWNLOAD_BURST):
        await asking.inspect()
    with pytest.raises(Refusal) as refused:
        await asking.inspect()
    assert refused.value.key == "refusal.inspect.often"
    asking.ctx = replace(asking.ctx, access_modes={"chat": AccessMode.LIST})
    with pytest.raises(Refusal) as refused:
        await asking.inspect(actor=Actor("chat", "77", "Eve"))
    assert refused.value.key == UNLISTED
    assert asking.surface.calls.count(Call.FETCH) == DOWNLOAD_BURST
