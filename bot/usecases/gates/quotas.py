"""Whether a request fits into what is left, and what credits pay for of it."""

from __future__ import annotations

from dataclasses import dataclass

from bot.model.jobs import Job
from bot.model.quotas import POINT, Credit
from bot.policy import quotas as rules
from bot.policy.costs import cost_each
from bot.policy.quotas import Asked, Asker, Share
from bot.store import quotas
from bot.store.database import Tx
from bot.usecases.asking import Asking
from bot.usecases.house import House
from bot.usecases.standing import bound, dated, open_books


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a request is given.

    Attributes:
        asker: Whose it is, and where.
        share: What credits pay for of it.
        cost_each: What each of its pictures costs, in thousandths of a point.
        credits: What may be spent, the first to expire first.
    """

    asker: Asker
    share: Share
    cost_each: int = POINT
    credits: tuple[Credit, ...] = ()


async def check(tx: Tx, house: House, asking: Asking, job: Job) -> Admitted:
    """Return what the request of a stored job is given; owners are exempt.

    Raises:
        OverQuota: It does not fit; says what is left or allowed, and when more comes back.
    """
    request = job.request
    profile = next((p for p in house.profiles() if p.name == request.model), None)
    cost = cost_each(request, profile)
    asker = Asker(asking.person.id, asking.place_id, job.channel)
    if asking.actor.is_owner:
        return Admitted(asker, Share(), cost)
    bindings = bound(house, asking.actor, asking.place, asking.policies)
    asked = Asked(request.count, request.width, request.height, request.steps, request.model)
    rules.check_request(bindings, asked)
    if bindings.terms().at_once is not None:
        waiting = await quotas.waiting(tx, asker, but=job.id)
        rules.check_waiting(bindings, waiting, lambda job_id: _eta(house, job_id))
    books = await open_books(tx, asker, bindings, asking.options, now=asking.now, cost_each=cost)
    share = rules.share(books.owner, books.own, books.purse, request.count)
    if share is None:
        room = rules.tightest(books.owner, books.own, books.purse)
        left = int(rules.left(books.owner, books.own, books.purse))
        blamed = await dated(tx, books, room, 0)
        raise rules.over(blamed, left=left, wanted=request.count, cost_each=cost, now=asking.now)
    return Admitted(asker, share, cost, books.credits)


def _eta(house: House, job_id: int) -> float | None:
    waiting = house.backlog.waiting(job_id)
    # Nothing is promised too early.
    return None if waiting is None or waiting.eta is None else waiting.eta.high
