"""Options: read together, the place's own before the owners', and taken away again."""

from __future__ import annotations

from bot.core.jobs import ServiceState
from bot.storage import people
from bot.storage.database import Database
from bot.storage.people import Options


async def test_what_a_place_has_set_holds_before_what_the_owners_have(db: Database) -> None:
    async with db.write() as tx:
        for place_id, name, value in ((1, "a", 1), (1, "off", False), (2, "b", "theirs"), (people.SERVICE, "b", [2])):
            await people.put_option(tx, place_id, name, value)
        for name in ("a", "off"):
            await people.put_option(tx, people.SERVICE, name, "everywhere")
        said = await people.read_options(tx, 1)
        assert (said.binding("a"), said.binding("off"), said.binding("b"), said.binding("c")) == (1, False, [2], None)
        assert (await people.read_options(tx, None)).here == {}
        await people.put_option(tx, 1, "a", None)
        assert (await people.read_options(tx, 1)).binding("a") == "everywhere"


def test_a_state_that_nobody_knows_is_none() -> None:
    assert Options(everywhere={"state": "drain"}).state is ServiceState.DRAIN
    assert [Options(everywhere={"state": said}).state for said in ("sleep", 3, None)] == [ServiceState.RUN] * 3
    assert Options(here={"state": "drain"}).state is ServiceState.RUN, (
        "a place's own options say nothing of the service"
    )
