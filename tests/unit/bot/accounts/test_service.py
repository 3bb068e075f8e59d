"""The page's accounts as a whole: what /studio answers, what a person's export holds, and what /forget takes away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot import runner
from bot.accounts.invitations import MOST_DAYS
from bot.commands.model import Invocation
from bot.core.access import AccessMode
from bot.core.cards import Card
from bot.core.errors import BadInput, NotAllowed, NotFound, OverQuota, Refusal, Unavailable, Uninvited
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.core.sign_in import Passkey
from bot.features import COMMANDS
from bot.privacy import deletion
from bot.privacy.store import exports
from bot.storage import people
from tests.unit.bot.conftest import ADA, ALONE, BOB, HERE, OWNER, PAGE, World, ref, run

PASSWORD = "correct horse battery"
ADMIN = replace(ADA, is_admin=True)


def passkey(name: str, credential_id: str = "abc") -> Passkey:
    return Passkey(0, 0, credential_id, "key", "easel.example", 1, name, 0.0, None)


async def studio(world: World, actor: Actor, place: Place, url: str = "https://easel.example/") -> Card:
    ctx = replace(world.ctx, public_url=url)
    return await run(ctx, Invocation(actor, place, COMMANDS.by_name["studio"], ref("s", channel=None)))


def token_of(card: Card) -> str:
    link = card.facts[0].value
    assert link.startswith("https://easel.example/enter/")
    return link.rpartition("/")[2]


async def test_studio_answers_with_a_private_link_to_the_same_person(world: World) -> None:
    job = await world.studio.draw(ADA, HERE, DrawForm("a cat"), ref())
    card = await studio(world, ADA, HERE)
    assert card.private
    sessions = world.studio.accounts.sessions
    opened = await sessions.open_by_link(token_of(card))
    found = await sessions.identity(opened.token, "")
    assert found is not None
    assert found.admin_of is None
    assert [shown.job_id for shown in await world.studio.items(found.actor)] == [job.job_id]


async def test_the_page_and_the_chat_share_one_quota_and_one_place_in_the_queue(world: World) -> None:
    sessions = world.studio.accounts.sessions
    opened = await sessions.open_by_link(token_of(await studio(world, ADA, HERE)))
    found = await sessions.identity(opened.token, "")
    assert found is not None
    await world.studio.draw(ADA, HERE, DrawForm("a cat", count="3"), ref("1"))
    await world.studio.draw(found.actor, PAGE, DrawForm("a cat", count="2"), ref("2", channel=None))
    first, second = world.backlog.tickets
    assert first.person_id == second.person_id
    with pytest.raises(OverQuota):
        await world.studio.draw(found.actor, PAGE, DrawForm("a cat"), ref("3", channel=None))
    # The limit of a request is that of the chat.
    assert world.studio.max_count(found.actor) == 4


@pytest.mark.parametrize(
    ("actor", "place", "admin"), [(ADMIN, HERE, True), (ADA, HERE, False), (ADMIN, ALONE, False), (OWNER, HERE, True)]
)
async def test_an_admin_s_link_from_a_server_is_one_for_that_server(
    world: World, actor: Actor, place: Place, admin: bool
) -> None:
    sessions = world.studio.accounts.sessions
    opened = await sessions.open_by_link(token_of(await studio(world, actor, place)))
    found = await sessions.identity(opened.token, "")
    assert found is not None
    assert (found.admin_of is not None) is admin


async def test_studio_says_where_there_is_no_page(world: World) -> None:
    with pytest.raises(Unavailable):
        await studio(world, ADA, HERE, url="")
    assert not world.studio.offers(COMMANDS.by_name["studio"])


async def test_strangers_get_no_link(world: World) -> None:
    world.ctx = replace(world.ctx, access_modes={"chat": AccessMode.APPROVE})
    with pytest.raises(Uninvited):
        await studio(world, ADA, ALONE)
    assert await world.count("sign_in_links") == 0


async def test_forget_and_export_know_the_ways_to_sign_in(world: World) -> None:
    accounts = world.studio.accounts
    async with world.db.write() as tx:
        ada = await people.remember(tx, ADA, now=world.clock.now())
    session = await accounts.sessions.open_by_link(token_of(await studio(world, ADA, HERE)))
    invitation = await accounts.invitations.create(OWNER, person="chat:1")
    await accounts.invitations.accept_with_password(invitation, "", "ada", PASSWORD)
    session = await accounts.sessions.open_by_link(token_of(await studio(world, ADA, HERE)))
    await accounts.passkeys.add(ada.account_id, passkey("Phone"))
    key = await accounts.keys.create_own(ADA, ada.account_id, "laptop")
    pending = token_of(await studio(world, ADA, HERE))
    other = await accounts.sessions.open_by_link(token_of(await studio(world, BOB, HERE)))
    async with world.db.read() as tx:
        exported = await exports.person(tx, ada.id)
        hashed = [row[0] for row in await tx.execute_fetchall("SELECT hash FROM passwords")]
    said = str(exported)
    assert [one["login"] for one in exported["passwords"]] == ["ada"]  # type: ignore[attr-defined]
    assert "Phone" in said
    assert "laptop" in said
    assert len(exported["sessions"]) == 2  # type: ignore[arg-type]
    for secret in (session.token, key.key, *hashed):
        assert secret not in said
    await deletion.forget(world.ctx, ADA)
    assert await accounts.sessions.identity(session.token, "") is None
    assert await accounts.keys.identity(key.key) is None
    with pytest.raises(NotFound):
        await accounts.sessions.open_by_link(pending)
    with pytest.raises(NotAllowed):
        await accounts.passwords.sign_in("ada", PASSWORD)
    for table in ("passwords", "passkeys", "api_keys", "sign_in_links"):
        assert await world.count(table) == 0, table
    assert await accounts.sessions.identity(other.token, "") is not None


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"quota": "many"}, BadInput),
        ({"quota": "2/day", "person": "chat:1"}, BadInput),
        ({"person": "chat:1"}, NotFound),
        ({"name": "x" * 41}, BadInput),
    ],
)
async def test_an_invitation_that_makes_no_sense_is_none(
    world: World, how: dict[str, str], error: type[Refusal]
) -> None:
    invitations = world.studio.accounts.invitations
    with pytest.raises(error):
        await invitations.create(
            OWNER, name=how.get("name", ""), quota=how.get("quota", ""), person=how.get("person", "")
        )
    for days in (0.0, -1.0, MOST_DAYS + 1):
        with pytest.raises(BadInput):
            await invitations.create(OWNER, days=days)
    assert await world.count("sign_in_links") == 0


async def test_an_invitation_ends_by_time_or_by_its_owner(world: World) -> None:
    invitations = world.studio.accounts.invitations
    old, withdrawn = await invitations.create(OWNER, name="Old", days=1), await invitations.create(OWNER, name="Eve")
    (eve, _) = await invitations.list()
    await invitations.withdraw(OWNER, eve.id)
    with pytest.raises(NotFound):
        await invitations.withdraw(OWNER, eve.id)
    with pytest.raises(NotFound):
        await invitations.find(withdrawn)
    assert (await invitations.find(old)).name == "Old"
    world.clock.advance(86400)
    with pytest.raises(NotFound):
        await invitations.accept_with_passkey(old, "", passkey("Phone"))
    assert await invitations.list() == ()
    assert await world.count("accounts") == 0


async def test_a_copied_passkey_is_noticed_between_its_check_and_its_use(world: World) -> None:
    accounts = world.studio.accounts
    token = await accounts.invitations.create(OWNER)
    await accounts.invitations.accept_with_passkey(token, "Ada", passkey("Phone"))
    found = await accounts.passkeys.find("abc")
    await accounts.passkeys.sign_in(found, 5)
    with pytest.raises(NotAllowed):
        await accounts.passkeys.sign_in(found, 6)


async def test_the_forget_card_says_so(world: World) -> None:
    await world.studio.draw(ADA, HERE, DrawForm("a cat"), ref())
    result = await runner.run(world.ctx, Invocation(ADA, HERE, COMMANDS.by_name["forget"], ref("f")))
    assert result.card is not None
    assert any("passkeys" in note for note in result.card.notes)
