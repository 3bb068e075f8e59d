"""Quotas: reading rules, choosing the ones that bind, and deciding whether a request fits. No clock, no database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.model.errors import BadInput, OverQuota
from bot.model.people import Actor, Place
from bot.model.quotas import Allowance, Limit, Policy, Scope, Window
from bot.policy.texts import fold, shown

MAX_PICTURES = 1_000_000
"""Most pictures that a rule may name; more is unlimited in all but name."""

_WINDOWS = {
    Window.HOUR: {"hour", "hours", "h", "hr", "小时", "时", "个小时"},
    Window.DAY: {"day", "days", "d", "天", "日"},
    Window.WEEK: {"week", "weeks", "w", "周", "星期", "礼拜"},
}
_BY_NAME = {name: window for window, names in _WINDOWS.items() for name in names}
_UNLIMITED = {"unlimited", "none", "off", "no limit", "不限", "无限", "无限制", "不限量"}
_RULE = re.compile(r"([0-9]{1,12})\s*(?:张|次|pictures?)?\s*(?:/|per\b|a\b|an\b|每)\s*(\w+)")
_RULE_ZH = re.compile(r"每个?(\w+?)\s*([0-9]{1,12})\s*[张次]?")


@dataclass(frozen=True, slots=True)
class Use:
    """Pictures that one job counts for: reserved and charged, less refunded.

    Attributes:
        at: When they were counted, in Unix seconds.
        pictures: How many; uses of 0 are left out of account.
        here: Whether they were asked for in the place that is being decided about.
    """

    at: float
    pictures: int
    here: bool


def parse_limit(text: str) -> Limit:
    """Read ``50/day``, ``50 / 天``, ``unlimited`` and the like. Raises BadInput for anything else."""
    folded = fold(text)
    if folded in _UNLIMITED:
        return Limit(None)
    number, name = "", ""
    if found := _RULE.fullmatch(folded):
        number, name = found[1], found[2]
    elif found := _RULE_ZH.fullmatch(folded):
        number, name = found[2], found[1]
    window = _BY_NAME.get(name)
    if window is None or not number:
        raise BadInput("refusal.quota.rule", value=shown(text))
    if int(number) > MAX_PICTURES:
        raise BadInput("refusal.quota.rule_too_large", value=shown(text), most=MAX_PICTURES)
    return Limit(int(number), window)


def format_limit(limit: Limit) -> str:
    """Return the limit as ``parse_limit`` reads it and operators type it."""
    return "unlimited" if limit.pictures is None else f"{limit.pictures}/{limit.window}"


def rate(limit: Limit) -> float:
    """Return pictures per second; infinite for unlimited."""
    return float("inf") if limit.pictures is None else limit.pictures / limit.window.seconds


def check_ceiling(wanted: Limit, ceiling: Limit) -> None:
    """Refuse a place's rule that promises more than the owner gives, whatever the windows. Raises OverQuota."""
    if rate(wanted) > rate(ceiling):
        assert ceiling.pictures is not None
        raise OverQuota("refusal.quota.ceiling", limit=ceiling.pictures, window=f"@window.{ceiling.window}")


def ceiling_of(place: Place, policies: Iterable[Policy], default: Limit, role: str | None = None) -> Limit:
    """Return the owner's limit that a rule of this place (for a role in it) must stay inside."""
    anybody = Actor(platform=place.platform, user_id="", roles=() if role is None else (role,))
    return max((p.limit for p in _binding(anybody, place, policies, default, by_owner=True)), key=rate)


def decide(
    actor: Actor,
    place: Place,
    policies: Sequence[Policy],
    default: Limit,
    uses: Sequence[Use],
    *,
    wanted: int,
    now: float,
) -> Allowance:
    """Decide whether ``wanted`` more pictures fit; 0 asks only what is left.

    Two rules bind at once, and the tighter one is returned: the most specific of the owner's, and the most specific of
    the place's own. Person is more specific than role, role than place, place than platform. Of several roles the most
    generous counts. Owners are exempt; a place's admins are not.

    Args:
        actor: Who asks.
        place: Where.
        policies: Every rule that may match; others are ignored.
        default: The owner's rule for everybody (``EASEL_QUOTA``).
        uses: The person's uses, over all places and accounts, of the last week at least.
        wanted: Pictures asked for.
        now: Unix seconds.

    Raises:
        OverQuota: They don't fit; says how many are left and when more come back.
    """
    if actor.is_owner:
        return _allowance(Limit(None), uses, now, in_place=False)
    allowances = []
    for by_owner in (True, False):
        rules = _binding(actor, place, policies, default, by_owner=by_owner)
        if rules:
            each = [_allowance(p.limit, uses, now, in_place=p.scope.place is not None) for p in rules]
            allowances.append(max(each, key=_room))
    binding = min(allowances, key=_room)
    if binding.left is not None and wanted > binding.left:
        raise _over(binding, wanted, now)
    return binding


def _room(allowance: Allowance) -> float:
    return float("inf") if allowance.left is None else allowance.left


def _binding(
    actor: Actor, place: Place, policies: Iterable[Policy], default: Limit, *, by_owner: bool
) -> tuple[Policy, ...]:
    """Return the most specific rules that match: one, or one for each role that matches alike."""
    matching = [p for p in policies if p.by_owner is by_owner and _matches(p.scope, actor, place)]
    if by_owner:
        matching.append(Policy(0, Scope(), default, by_owner=True))
    else:
        # A place's rule holds in that place alone, whatever its row says.
        matching = [p for p in matching if p.scope.place is not None]
    if not matching:
        return ()
    best = max(_specificity(p.scope) for p in matching)
    # A stored rule for everybody replaces the default.
    return tuple(p for p in matching if _specificity(p.scope) == best and (p.id or len(matching) == 1))


def _matches(scope: Scope, actor: Actor, place: Place) -> bool:
    return (
        scope.platform in {None, actor.platform}
        and (scope.place is None or (scope.place == place.guild and actor.platform == place.platform))
        and (scope.role is None or scope.role in actor.roles)
        and scope.person in {None, actor.user_id}
    )


def _specificity(scope: Scope) -> tuple[bool, ...]:
    return tuple(part is not None for part in (scope.person, scope.role, scope.place, scope.platform))


def _allowance(limit: Limit, uses: Sequence[Use], now: float, *, in_place: bool) -> Allowance:
    begin = now - limit.window.seconds
    counted = sorted((u.at, u.pictures) for u in uses if u.at > begin and u.pictures > 0 and (u.here or not in_place))
    used = sum(pictures for _, pictures in counted)
    if limit.pictures is None:
        return Allowance(limit, used, None, in_place=in_place)
    first = counted[0][0] if counted else None
    return Allowance(
        limit=limit,
        used=used,
        left=max(0, limit.pictures - used),
        returns_at=None if first is None else first + limit.window.seconds,
        returns=sum(pictures for at, pictures in counted if at == first),
        in_place=in_place,
    )


def _over(binding: Allowance, wanted: int, now: float) -> OverQuota:
    assert binding.left is not None
    assert binding.limit.pictures is not None
    where = "_here" if binding.in_place else ""
    limit, window = binding.limit.pictures, f"@window.{binding.limit.window}"
    if binding.limit.pictures == 0:
        return OverQuota(f"refusal.quota.closed{where}")
    if binding.returns_at is None:
        return OverQuota(f"refusal.quota.too_many{where}", n=binding.left, wanted=wanted, window=window)
    return OverQuota(
        f"refusal.quota.left{where}" if binding.left else f"refusal.quota.used_up{where}",
        n=binding.left,
        wanted=wanted,
        limit=limit,
        window=window,
        returns=binding.returns,
        wait=max(0.0, binding.returns_at - now),
    )
