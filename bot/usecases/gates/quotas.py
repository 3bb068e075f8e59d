"""Whether a request fits into what is left, and what it is given of it."""

from __future__ import annotations

from bot.model.requests import DrawRequest
from bot.policy import quotas as rules
from bot.store import policies, quotas
from bot.store.database import Tx
from bot.usecases.asking import Asking
from bot.usecases.house import House


async def check(tx: Tx, house: House, asking: Asking, request: DrawRequest) -> None:
    """Raise OverQuota unless the request fits; owners are exempt."""
    if asking.actor.is_owner:
        return
    found = await policies.concerning(tx, asking.actor.platform, asking.place.guild)
    # No longer back than a rule looks: somebody without limits may have had thousands.
    limits = (house.quota, *(policy.limit for policy in found))
    window = max((limit.window.seconds for limit in limits if limit.pictures is not None), default=0)
    uses = await quotas.uses(tx, asking.person.id, since=asking.now - window, place_id=asking.place_id)
    rules.decide(asking.actor, asking.place, found, house.quota, uses, wanted=request.count, now=asking.now)
