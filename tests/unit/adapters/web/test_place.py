"""The page of a place's admin: what holds there, and a pause of drawing; for a day, and for that place alone."""

from __future__ import annotations

from bot.core.errors import NotAllowed
from bot.core.messages import EventRef
from bot.core.people import Place
from bot.core.requests import DrawForm
from tests.unit.adapters.web.harness import ADA, BOB, TOKEN, WebHarness, error_of

GUILD = Place("chat", "guild", "channel", name="The club")
OTHER = Place("chat", "other", "channel")


async def drawn_in(app: WebHarness, place: Place, event: str) -> str:
    """Ask for a picture in the chat; returns what was refused, if anything."""
    try:
        await app.studio.draw(BOB, place, DrawForm("a cat"), EventRef(event))
    except NotAllowed as refusal:
        return refusal.key
    return ""


async def test_an_admin_sees_and_pauses_the_place_where_they_asked(club: WebHarness) -> None:
    headers = await club.signed_in(ADA, GUILD, admin=True)
    status, shown = await club.get("/api/place", headers=headers)
    assert (status, shown["name"], shown["platform"]) == (200, "The club", "chat")
    assert shown["limits"]["facts"]
    status, _ = await club.post("/api/place/state", {"state": "pause"}, headers=headers)
    assert status == 200
    assert await drawn_in(club, GUILD, "1") != ""
    assert await drawn_in(club, OTHER, "2") == ""
    _, shown = await club.get("/api/place", headers=headers)
    assert "pause" in str(shown["changes"])
    assert (await club.post("/api/place/state", {"state": "resume"}, headers=headers))[0] == 200
    assert await drawn_in(club, GUILD, "3") == ""
    status, answer = await club.post("/api/place/state", {"state": "open"}, headers=headers)
    assert (status, error_of(answer)[0]) == (400, "refusal.web.body")


async def test_members_and_owners_are_no_admins_of_it(club: WebHarness) -> None:
    member = await club.signed_in(BOB, GUILD)
    status, answer = await club.post("/api/place/state", {"state": "pause"}, headers=member)
    assert (status, error_of(answer)[0]) == (403, "refusal.web.role.admin")
    owner = {"Authorization": f"Bearer {TOKEN}"}
    status, answer = await club.get("/api/place", headers=owner)
    assert (status, error_of(answer)[0]) == (404, "refusal.web.place")
    assert await drawn_in(club, GUILD, "1") == ""


async def test_what_an_admin_draws_is_a_member_s(club: WebHarness) -> None:
    headers = await club.signed_in(ADA, GUILD, admin=True)
    assert (await club.get("/api/owner/overview", headers=headers))[0] == 403
    status, _ = await club.post("/api/draw", {"key": club.key(), "prompt": "a cat"}, headers=headers)
    assert status == 201
    assert await club.number("SELECT count(*) FROM jobs WHERE place_id IS NOT NULL") == 0
