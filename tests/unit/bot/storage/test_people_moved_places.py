"""A place with another id: its rules, its approval and its changes are found under the new one, and nobody else's."""

from __future__ import annotations

import json

from bot.access.store import newcomers as access_rows
from bot.audit import store as audit_rows
from bot.core.access import AccessDecision, SubjectKind
from bot.core.people import Place
from bot.core.quotas import Scope
from bot.quotas.rules.terms import parse_terms
from bot.quotas.store import rules as rule_rows
from bot.storage import people
from bot.storage.database import Database, Tx
from bot.storage.people import move_place

OLD, NEW, OTHER = Place("chat", "old", "old"), Place("chat", "new", "new"), Place("chat", "other", "other")


def subjects(place: Place) -> list[dict[str, object]]:
    """What was changed there."""
    return [{"place": place.guild, "channel": place.channel}, {"place": place.guild, "channel": None}, {"place_id": 1}]


async def settle(tx: Tx, place: Place) -> int:
    """Somebody's place: approved, with a rule for everybody, one for its channel, an option, and a change."""
    assert place.guild is not None
    place_id = await people.remember_place(tx, place, now=1.0)
    assert place_id is not None
    newcomer = await access_rows.add_newcomer(tx, "chat", SubjectKind.PLACE, place.guild, name="", now=1.0)
    await access_rows.set_decision(tx, newcomer.id, AccessDecision.ALLOWED, by="chat:9", now=2.0)
    for scope in (Scope("chat", place.guild), Scope("chat", place.guild, channel=place.channel)):
        await rule_rows.put_rule(tx, scope, parse_terms("3/day"), by_owner=False, set_by="chat:8", now=1.0)
    await people.put_option(tx, place_id, "words", "warn")
    for subject in ("", *map(json.dumps, subjects(place))):
        await audit_rows.add(
            tx, audit_rows.AuditEntry(1.0, "chat:8", "quota set", "chat", place.guild, kind="rule", subject=subject)
        )
    return place_id


async def seen(tx: Tx, place: Place) -> list[object]:
    """What is found under a place's id."""
    assert place.guild is not None
    newcomer = await access_rows.find_newcomer(tx, "chat", SubjectKind.PLACE, place.guild)
    place_id = await people.find_place(tx, place)
    return [
        None if newcomer is None else newcomer.verdict,
        [p.scope for p in await rule_rows.rules_of_place(tx, "chat", place.guild)],
        dict((await people.read_options(tx, place_id)).here),
        [json.loads(e.subject) for e in reversed(await audit_rows.of_place(tx, "chat", place.guild)) if e.subject],
    ]


def all_of(place: Place) -> list[object]:
    scopes = [Scope("chat", place.guild), Scope("chat", place.guild, channel=place.channel)]
    return [AccessDecision.ALLOWED, scopes, {"words": "warn"}, subjects(place)]


async def test_everything_goes_along_and_moving_again_changes_nothing(db: Database) -> None:
    async with db.write() as tx:
        place_id = await settle(tx, OLD)
        await settle(tx, OTHER)
        for _ in range(2):
            await move_place(tx, "chat", "old", "new")
            assert await people.find_place(tx, NEW) == place_id
            assert await seen(tx, NEW) == all_of(NEW)
            assert await seen(tx, OLD) == [None, [], {}, []]
            assert await seen(tx, OTHER) == all_of(OTHER)
        await move_place(tx, "web", "other", "elsewhere")
        assert await seen(tx, OTHER) == all_of(OTHER), "another platform's place"


async def test_what_is_known_under_the_new_id_stays(db: Database) -> None:
    async with db.write() as tx:
        await settle(tx, OLD)
        place_id = await settle(tx, NEW)
        await rule_rows.remove_rule(tx, Scope("chat", "new"), by_owner=False)
        await move_place(tx, "chat", "old", "new")
        assert await people.find_place(tx, NEW) == place_id
        verdict, scopes, said, _ = await seen(tx, NEW)
        assert (verdict, said) == (AccessDecision.ALLOWED, {"words": "warn"})
        assert sorted(scopes, key=str) == sorted(all_of(NEW)[1], key=str)  # type: ignore[call-overload]
