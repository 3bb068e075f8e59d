"""What holds in a place, put together for whoever asks."""

from __future__ import annotations

from bot.access.gate import guest_of
from bot.access.store import requests as access_rows
from bot.admin.effective_settings import EffectiveSettings
from bot.commands import permissions
from bot.context import AppContext
from bot.core.access import AccessMode
from bot.core.people import Actor, Place
from bot.core.quotas import QuotaRule
from bot.moderation import word_check
from bot.moderation.store import log_channel
from bot.places import pause
from bot.privacy import retention
from bot.quotas.quota_status import TIMEZONE, bind
from bot.quotas.store import rules as rule_rows
from bot.storage import options, people
from bot.storage.database import Tx

UTC = "UTC"


async def show(ctx: AppContext, actor: Actor, place: Place) -> EffectiveSettings:
    """Return what holds in this place for everybody, and whether who asks may set it."""
    kept = await retention.show(ctx, place)
    anybody = Actor(place.platform, "")
    async with ctx.db.read() as tx:
        place_id = await people.find_place(tx, place)
        said = await options.read(tx, place_id)
        own = said.here
        found = await rule_rows.concerning(tx, place.platform, place.guild)
        special = tuple(p for p in found if _special(p, place))
        kind, subject, _ = guest_of(actor, place)
        newcomer = await access_rows.find(tx, place.platform, kind, subject)
        zone = own.get(TIMEZONE)
        return EffectiveSettings(
            place=place.guild is not None,
            reasons=(await bind(tx, ctx, anybody, place, None)).reasons,
            special=special,
            names=await _names(tx, place.platform, special),
            access=ctx.access.get(place.platform, AccessMode.OPEN),
            verdict=None if newcomer is None else newcomer.verdict,
            words=word_check.of_place(place, said),
            keep_days=kept.days,
            zone=zone if isinstance(zone, str) else UTC,
            log=own.get(log_channel.LOG) not in (None, log_channel.NOWHERE),
            paused=own.get(pause.PAUSED) is True,
            state=said.state,
            roles=len(await permissions.named(tx, place)),
            untouched=not own and all(p.by_owner or p.scope.place != place.guild for p in found),
            admin=await permissions.is_admin(tx, actor, place),
        )


def _special(policy: QuotaRule, place: Place) -> bool:
    """Whether a rule is for some in this place alone; owners' rules for people are nobody else's business."""
    scope = policy.scope
    if scope.place is None or scope.place != place.guild:
        return False
    return bool(scope.role or scope.channel or (scope.person and not policy.by_owner))


async def _names(tx: Tx, platform: str, special: tuple[QuotaRule, ...]) -> dict[str, str]:
    names = {}
    for user_id in {p.scope.person for p in special if p.scope.person}:
        person = await people.find(tx, platform, user_id)
        if person is not None and person.name:
            names[user_id] = person.name
    return names
