"""What holds in a place, for everybody who asks there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.core.access import AccessDecision, AccessMode
from bot.core.quotas import QuotaRule, Reason
from bot.core.service_state import ServiceState
from bot.core.strictness import Strictness


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """The rules and options of one place.

    Attributes:
        place: Whether it is a server or group; otherwise a chat of one's own.
        reasons: The rules that bind somebody without roles.
        special: Rules for a role, a channel or a person, the owners' and the place's own.
        names: Names of the people whom these are for, by their ids, as far as they are known.
        access: Who may come in on this platform.
        verdict: What an owner has answered this place or person; None where nobody has asked.
        words: How strict it is.
        keep_days: For how long pictures are kept; None is for good.
        zone: The time zone in which days begin.
        log: Whether reports go to a channel of this place.
        paused: Nothing new is taken on here.
        state: What the whole service does.
        roles: How many roles are admins here beside those who manage the place.
        untouched: Nobody has set anything here yet.
        admin: Who asks may set things here.
    """

    place: bool
    reasons: tuple[Reason, ...]
    special: tuple[QuotaRule, ...]
    names: Mapping[str, str]
    access: AccessMode
    verdict: AccessDecision | None
    words: Strictness
    keep_days: float | None
    zone: str
    log: bool
    paused: bool
    state: ServiceState
    roles: int
    untouched: bool
    admin: bool
