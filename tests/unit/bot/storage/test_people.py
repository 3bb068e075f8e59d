"""People, accounts and places: found again, named as they are named now."""

from __future__ import annotations

from bot.core.people import Actor, Place
from bot.storage import people
from bot.storage.database import Database


async def test_an_account_is_one_person(db: Database) -> None:
    async with db.write() as tx:
        assert await people.find(tx, "discord", "1") is None
        one = await people.remember(tx, Actor("discord", "1", "Ada"), now=1.0)
        assert await people.remember(tx, Actor("discord", "1", "Ada"), now=2.0) == one
        other = await people.remember(tx, Actor("telegram", "1", "Ada"), now=3.0)
        assert other.id != one.id
        assert await people.find(tx, "discord", "1") == one


async def test_a_new_name_is_kept_and_an_empty_one_is_not(db: Database) -> None:
    async with db.write() as tx:
        await people.remember(tx, Actor("discord", "1", "Ada"), now=1.0)
        renamed = await people.remember(tx, Actor("discord", "1", "Ada L."), now=1.0)
        assert renamed.name == "Ada L."
        assert (await people.remember(tx, Actor("discord", "1", ""), now=1.0)).name == "Ada L."


async def test_a_handle_means_the_account_seen_last_with_it(db: Database) -> None:
    async with db.write() as tx:
        assert await people.find_by_handle(tx, "telegram", "ada") is None
        assert await people.find_by_handle(tx, "telegram", "") is None
        await people.remember(tx, Actor("telegram", "1", "Ada", handle="Ada_L"), now=1.0)
        await people.remember(tx, Actor("telegram", "3", "Cy"), now=1.0)
        found = await people.find_by_handle(tx, "telegram", "ada_L")
        assert found is not None
        assert (found.user_id, found.name) == ("1", "Ada")
        assert await people.find_by_handle(tx, "discord", "ada_l") is None
        # The name was given back, and taken by somebody else.
        await people.remember(tx, Actor("telegram", "2", "Bob", handle="ada_l"), now=2.0)
        found = await people.find_by_handle(tx, "telegram", "ada_l")
        assert found is not None
        assert found.user_id == "2"


async def test_places(db: Database) -> None:
    async with db.write() as tx:
        assert await people.remember_place(tx, Place("discord", None, "dm"), now=1.0) is None
        assert await people.find_place(tx, Place("discord", None, "dm")) is None
        assert await people.find_place(tx, Place("discord", "g", "c")) is None
        one = await people.remember_place(tx, Place("discord", "g", "c", name="Painters"), now=1.0)
        assert await people.remember_place(tx, Place("discord", "g", "d"), now=2.0) == one
        assert await people.find_place(tx, Place("discord", "g", "e")) == one
        assert await people.remember_place(tx, Place("telegram", "g", "c"), now=1.0) != one
        rows = await tx.execute_fetchall("SELECT name FROM places WHERE id = ?", (one,))
        assert [row[0] for row in rows] == ["Painters"]
