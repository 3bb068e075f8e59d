"""Quota rules, credits, and what is left under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

POINT = 1000
"""Points are counted in thousandths: a picture of the reference model at its native size and usual steps costs one point."""


class Window(StrEnum):
    """What a limit looks back over: so much time up to now, or a calendar day in the place's time zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    CALENDAR = "calendar"

    @property
    def seconds(self) -> int:
        """Length in seconds; a calendar day's is nominal (clocks are changed)."""
        return {"hour": 3600, "day": 86400, "week": 604800, "calendar": 86400}[self.value]


class Unit(StrEnum):
    """What a limit counts. A picture's points follow its pixels, its steps and its model."""

    PICTURES = "pictures"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many pictures, or whole points, in a window; ``amount`` None is unlimited."""

    amount: int | None
    window: Window = Window.DAY
    unit: Unit = Unit.PICTURES

    @property
    def total(self) -> int | None:
        """The amount as it is counted: pictures, or thousandths of a point."""
        return self.amount if self.amount is None or self.unit is Unit.PICTURES else self.amount * POINT


class Dimension(StrEnum):
    """What a rule can say something about; each is decided for itself. The values are the fields of Terms."""

    LIMITS = "limits"
    AT_ONCE = "at_once"
    COUNT = "count"
    PIXELS = "pixels"
    STEPS = "steps"
    MODELS = "models"


@dataclass(frozen=True, slots=True)
class RuleTerms:
    """What a rule says; None (or no limits) where it says nothing and a less specific rule holds.

    Attributes:
        limits: Each of them binds. A single unlimited one exempts: nothing holds but what these terms name themselves.
        at_once: Most requests that may wait or be drawn at a time.
        count: Most pictures in one request.
        pixels: Largest picture, as width times height.
        steps: Most denoising steps.
        models: Names of the models that may be asked for.
    """

    limits: tuple[Limit, ...] = ()
    at_once: int | None = None
    count: int | None = None
    pixels: int | None = None
    steps: int | None = None
    models: frozenset[str] | None = None

    @property
    def exempt(self) -> bool:
        """Whether nothing is limited but what these terms name."""
        return any(limit.amount is None for limit in self.limits)

    def names(self, dimension: Dimension) -> bool:
        """Whether these terms themselves say a value in this dimension (no limit at all is one of limits)."""
        return bool(self.limits) if dimension is Dimension.LIMITS else getattr(self, dimension.value) is not None

    def speaks_of(self, dimension: Dimension) -> bool:
        """Whether less specific rules count no more in this dimension."""
        return self.exempt or self.names(dimension)

    def most(self, dimension: Dimension) -> int | None:
        """Return the largest value that is allowed in AT_ONCE, COUNT, PIXELS or STEPS; None: any."""
        return {
            Dimension.AT_ONCE: self.at_once,
            Dimension.COUNT: self.count,
            Dimension.PIXELS: self.pixels,
            Dimension.STEPS: self.steps,
        }[dimension]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a rule is for; None means any.

    The more specific rule wins: person before role, role before channel, channel before place, place before platform.
    ``place`` is the guild's id, ``person`` the platform's user id.
    """

    platform: str | None = None
    place: str | None = None
    role: str | None = None
    person: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """A stored quota rule. ``by_owner`` rules are ceilings; a place's own rules can only narrow them."""

    id: int
    scope: Scope
    terms: RuleTerms
    by_owner: bool


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left under one limit.

    Attributes:
        limit: Which.
        used: What counts in its window, in pictures or thousandths of a point.
        left: What may still be asked for, likewise; None is unlimited.
        returns_at: Unix seconds when ``returns`` more become free; None when nothing is used.
        returns: See returns_at.
        in_place: It counts what was drawn in this place alone.
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
    """BONUS pictures are given; BORROWED ones count as drawn once their time is over."""

    BONUS = "bonus"
    BORROWED = "borrowed"


@dataclass(frozen=True, slots=True)
class Credit:
    """Pictures on top of the rules, as far as they are not spent.

    Attributes:
        id: Its row.
        kind: See CreditKind.
        left: Pictures that are not spent.
        expires_at: Unix seconds; what is left then is gone.
        by_owner: Lifts the owner's rule too; else the place's own alone.
    """

    id: int
    kind: CreditKind
    left: int
    expires_at: float
    by_owner: bool


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """How somebody stands in a place.

    Attributes:
        left: Pictures of one point each that they may ask for now, credits included; None is unlimited.
        allowances: Each limit that binds; the tightest first.
        credits: What they may spend here, the first to expire first.
        terms: What binds each single request, owner's and place's together; its limits are empty.
        waiting: How many of their requests wait or are being drawn, as far as ``terms.at_once`` counts them.
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
    """Why something holds for somebody: which rules bind in one dimension.

    Attributes:
        dimension: Which.
        by_owner: The owner's rules, or the place's own.
        rules: Those that bind: one, or that of each role that matches alike, the most generous first.
        instead: Less specific rules that say something too, and don't count; the most specific first.
    """

    dimension: Dimension
    by_owner: bool
    rules: tuple[QuotaRule, ...]
    instead: tuple[QuotaRule, ...] = ()


Names = Mapping[str, str]
"""What a platform calls roles, channels and people, by their ids; data."""
