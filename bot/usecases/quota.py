"""Quotas as people in chats see them: what is left for me, and the rule of this place."""

from __future__ import annotations

from bot.model.errors import NotAllowed
from bot.model.people import Actor, Place
from bot.model.quotas import Allowance, Limit, Policy, Scope, Window
from bot.policy import quotas as rules
from bot.store import audit, people, policies, quotas
from bot.store.database import Tx
from bot.usecases.house import House


async def show(house: House, actor: Actor, place: Place) -> Allowance:
    """Return what is left under the rule that binds the person here."""
    now = house.clock.now()
    async with house.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        place_id = await people.find_place(tx, place)
        found = await policies.concerning(tx, actor.platform, place.guild)
        uses = (
            ()
            if person is None
            else await quotas.uses(tx, person.id, since=now - Window.WEEK.seconds, place_id=place_id)
        )
    return rules.decide(actor, place, found, house.quota, uses, wanted=0, now=now)


async def set_rule(house: House, actor: Actor, place: Place, rule: str, role: str | None = None) -> Limit:
    """Set this place's own rule, or that of a role in it; returns it as it was understood.

    Raises:
        NotAllowed: The person is no admin here, or this is no server or group.
        BadInput: The rule can't be read.
        OverQuota: It is above the owner's ceiling, which the sentence names.
    """
    if place.guild is None:
        raise NotAllowed("refusal.quota.no_place")
    if not (actor.is_admin or actor.is_owner):
        raise NotAllowed("refusal.quota.not_admin")
    limit = rules.parse_limit(rule)
    scope = Scope(platform=place.platform, place=place.guild, role=role)
    async with house.db.write() as tx:
        found = await policies.concerning(tx, place.platform, place.guild)
        rules.check_ceiling(limit, rules.ceiling_of(place, found, house.quota, role))
        await put(tx, scope, limit, by_owner=False, actor=f"{actor.platform}:{actor.user_id}", now=house.clock.now())
    return limit


async def put(tx: Tx, scope: Scope, limit: Limit, *, by_owner: bool, actor: str, now: float) -> None:
    """Set a rule and write down who did. Nothing is checked here."""
    before = await policies.put(tx, scope, limit, by_owner=by_owner, set_by=actor, now=now)
    await audit.add(
        tx,
        audit.Entry(
            at=now,
            actor=actor,
            action=_action("set", scope),
            platform=scope.platform,
            place=scope.place,
            before="" if before is None else rules.format_limit(before),
            after=rules.format_limit(limit),
        ),
    )


async def take_away(tx: Tx, scope: Scope, *, by_owner: bool, actor: str, now: float) -> Policy | None:
    """Remove a rule and write down who did; returns it, or None when there was none."""
    policy = await policies.remove(tx, scope, by_owner=by_owner)
    if policy is not None:
        await audit.add(
            tx,
            audit.Entry(
                at=now,
                actor=actor,
                action=_action("reset", scope),
                platform=scope.platform,
                place=scope.place,
                before=rules.format_limit(policy.limit),
            ),
        )
    return policy


def _action(verb: str, scope: Scope) -> str:
    parts = (("role", scope.role), ("person", scope.person))
    return " ".join([f"quota.{verb}", *(f"{name}={value}" for name, value in parts if value is not None)])
