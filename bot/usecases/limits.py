"""What holds in a place, put together for whoever asks."""

from __future__ import annotations

from bot.model.access import Access
from bot.model.limits import Limits
from bot.model.people import Actor, Place
from bot.model.quotas import Policy
from bot.store import access, options, people, placelog, policies
from bot.store.database import Tx
from bot.usecases import keep, rights
from bot.usecases.gates import paused, words
from bot.usecases.gates.access import guest_of
from bot.usecases.house import House
from bot.usecases.standing import TIMEZONE, bind

UTC = "UTC"


async def show(house: House, actor: Actor, place: Place) -> Limits:
    """Return what holds in this place for everybody, and whether who asks may set it."""
    kept = await keep.show(house, place)
    anybody = Actor(place.platform, "")
    async with house.db.read() as tx:
        place_id = await people.find_place(tx, place)
        said = await options.read(tx, place_id)
        own = said.here
        found = await policies.concerning(tx, place.platform, place.guild)
        special = tuple(p for p in found if _special(p, place))
        kind, subject, _ = guest_of(actor, place)
        newcomer = await access.find(tx, place.platform, kind, subject)
        zone = own.get(TIMEZONE)
        return Limits(
            place=place.guild is not None,
            reasons=(await bind(tx, house, anybody, place, None)).reasons,
            special=special,
            names=await _names(tx, place.platform, special),
            access=house.access.get(place.platform, Access.OPEN),
            verdict=None if newcomer is None else newcomer.verdict,
            words=words.of_place(place, said),
            keep_days=kept.days,
            zone=zone if isinstance(zone, str) else UTC,
            log=own.get(placelog.LOG) not in (None, placelog.NOWHERE),
            paused=own.get(paused.PAUSED) is True,
            state=said.state,
            roles=len(await rights.named(tx, place)),
            untouched=not own and all(p.by_owner or p.scope.place != place.guild for p in found),
            admin=await rights.is_admin(tx, actor, place),
        )


def _special(policy: Policy, place: Place) -> bool:
    """Whether a rule is for some in this place alone; owners' rules for people are nobody else's business."""
    scope = policy.scope
    if scope.place is None or scope.place != place.guild:
        return False
    return bool(scope.role or scope.channel or (scope.person and not policy.by_owner))


async def _names(tx: Tx, platform: str, special: tuple[Policy, ...]) -> dict[str, str]:
    names = {}
    for user_id in {p.scope.person for p in special if p.scope.person}:
        person = await people.find(tx, platform, user_id)
        if person is not None and person.name:
            names[user_id] = person.name
    return names
