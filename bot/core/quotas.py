"""Types of quotas: limits, rules, credits, and what is left under them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

POINT = 1000
"""Thousandths of a point. A picture of the reference model at its native size and default steps costs one point."""


class Window(StrEnum):
    """The time window of a limit: a length of time up to now, or a calendar day in the place's time zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    CALENDAR = "calendar"

    @property
    def seconds(self) -> int:
        """Length in seconds; nominal for a calendar day, which may be longer or shorter when clocks change."""
        return {"hour": 3600, "day": 86400, "week": 604800, "calendar": 86400}[self.value]


class Unit(StrEnum):
    """The unit of a limit. A picture's points depend on its pixels, its steps and its model."""

    PICTURES = "pictures"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class Limit:
    """An amount of pictures, or of whole points, in a window; ``amount`` None is unlimited."""

    amount: int | None
    window: Window = Window.DAY
    unit: Unit = Unit.PICTURES

    @property
    def total(self) -> int | None:
        """The amount in the unit of the ledger: pictures, or thousandths of a point."""
        return self.amount if self.amount is None or self.unit is Unit.PICTURES else self.amount * POINT


class Dimension(StrEnum):
    """A property that rules limit; each is resolved separately. The values are the fields of RuleTerms."""

    LIMITS = "limits"
    AT_ONCE = "at_once"
    COUNT = "count"
    PIXELS = "pixels"
    STEPS = "steps"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class RuleTerms:
    """The content of a rule; None (or no limits) leaves a dimension to a less specific rule.

    Attributes:
        limits: All of them apply. A single unlimited one exempts: then only what these terms set applies.
        at_once: Most unfinished requests at a time.
        count: Most pictures in one request.
        pixels: Largest picture, as width times height.
        steps: Most denoising steps.
        models: Names of the allowed models.
    """

    limits: tuple[Limit, ...] = ()
    at_once: int | None = None
    count: int | None = None
    pixels: int | None = None
    steps: int | None = None
    models: frozenset[str] | None = None

    @property
    def exempt(self) -> bool:
        """Whether nothing is limited except what these terms set."""
        return any(limit.amount is None for limit in self.limits)

    def sets(self, dimension: Dimension) -> bool:
        """Return whether these terms set a value in this dimension; an unlimited limit is a value."""
        return bool(self.limits) if dimension is Dimension.LIMITS else getattr(self, dimension.value) is not None

    def decides(self, dimension: Dimension) -> bool:
        """Return whether these terms override less specific rules in this dimension."""
        return self.exempt or self.sets(dimension)

    def maximum(self, dimension: Dimension) -> int | None:
        """Return the largest allowed value in AT_ONCE, COUNT, PIXELS or STEPS; None: any."""
        return {
            Dimension.AT_ONCE: self.at_once,
            Dimension.COUNT: self.count,
            Dimension.PIXELS: self.pixels,
            Dimension.STEPS: self.steps,
        }[dimension]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a rule applies to; None means any.

    The most specific rule wins: person beats role, role beats channel, channel beats place, place beats platform.
    ``place`` is the guild's id, ``person`` the platform's user id.
    """

    platform: str | None = None
    place: str | None = None
    role: str | None = None
    person: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """A stored quota rule. An owner's rules (``by_owner``) are ceilings; a place's own rules can only be tighter."""

    id: int
    scope: Scope
    terms: RuleTerms
    by_owner: bool


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left under one limit.

    Attributes:
        limit: The limit.
        used: Usage in its window, in pictures or thousandths of a point.
        left: What may still be used, in the same unit; None is unlimited.
        returns_at: Unix seconds when ``returns`` more become free; None if nothing is used.
        returns: See returns_at.
        in_place: Only usage in this place counts.
        by_owner: An owner's rule, or one of the place's own.
    """

    limit: Limit
    used: int
    left: int | None
    returns_at: float | None = None
    returns: int = 0
    in_place: bool = False
    by_owner: bool = True


class CreditKind(StrEnum):
    """BONUS credits are a gift. Spent BORROWED credits count as usage once they expire."""

    BONUS = "bonus"
    BORROWED = "borrowed"


@dataclass(frozen=True, slots=True)
class Credit:
    """Unspent pictures beyond the rules.

    Attributes:
        id: Its row.
        kind: See CreditKind.
        left: Unspent pictures.
        expires_at: Unix seconds; unspent pictures are gone then.
        by_owner: It lifts the owner's rules too; otherwise only the place's own.
    """

    id: int
    kind: CreditKind
    left: int
    expires_at: float
    by_owner: bool


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """A person's quota status in a place.

    Attributes:
        left: How many pictures of one point each they may request now, credits included; None is unlimited.
        allowances: Each limit that applies, the tightest first.
        credits: Unspent credits, the first to expire first.
        terms: What applies to each single request, both sides combined; its limits are empty.
        waiting: How many unfinished requests ``terms.at_once`` counts.
        now: Unix seconds.
    """

    left: int | None
    allowances: tuple[Allowance, ...]
    credits: tuple[Credit, ...] = ()
    terms: RuleTerms = field(default_factory=RuleTerms)
    waiting: int = 0
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Reason:
    """The rules that apply to a person in one dimension, and the rules that they override.

    Attributes:
        dimension: The dimension.
        by_owner: The owner's rules, or the place's own.
        rules: The rules that apply: one, or those of several roles.
        overridden: Less specific rules that do not apply; the most specific first.
    """

    dimension: Dimension
    by_owner: bool
    rules: tuple[QuotaRule, ...]
    overridden: tuple[QuotaRule, ...] = ()
