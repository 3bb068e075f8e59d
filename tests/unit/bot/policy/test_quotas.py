"""Quotas: reading rules, which of them bind, what is left, and when more come back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.model.errors import BadInput, OverQuota
from bot.model.people import Actor, Place
from bot.model.quotas import Allowance, Limit, Policy, Scope, Window
from bot.policy.quotas import Use, ceiling_of, check_ceiling, decide, format_limit, parse_limit, rate
from tests.unit.bot.policy.outcome import outcome

NOW = 1_800_000_000.0
HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
ANN = Actor("discord", "ann", roles=("painter", "guest"))
GUILD = Place("discord", "guild", "channel")
PRIVATE = Place("discord", None, "dm")
DEFAULT = Limit(50)


def rule(number: int | None, window: Window = Window.DAY, *, by_owner: bool = True, **scope: str) -> Policy:
    return Policy(1, Scope(**scope), Limit(number, window), by_owner)


def left(
    *policies: Policy, actor: Actor = ANN, place: Place = GUILD, uses: Sequence[Use] = (), default: Limit = DEFAULT
) -> Allowance:
    return decide(actor, place, policies, default, uses, wanted=0, now=NOW)


@pytest.mark.parametrize(
    ("typed", "limit"),
    [
        ("50/day", Limit(50)),
        (" 50 / DAY ", Limit(50)),
        ("50/天", Limit(50)),
        ("５０／日", Limit(50)),
        ("50 per day", Limit(50)),
        ("50 pictures a day", Limit(50)),
        ("每天50张", Limit(50)),
        ("每小时 5", Limit(5, Window.HOUR)),
        ("20/hour", Limit(20, Window.HOUR)),
        ("20/小时", Limit(20, Window.HOUR)),
        ("200/week", Limit(200, Window.WEEK)),
        ("200/周", Limit(200, Window.WEEK)),
        ("0/day", Limit(0)),
        ("unlimited", Limit(None)),
        ("不限", Limit(None)),
    ],
)
def test_rules_are_read(typed: str, limit: Limit) -> None:
    assert parse_limit(typed) == limit


@pytest.mark.parametrize(
    "typed", ["", "50", "day", "-1/day", "1.5/day", "50/month", "50/day/day", "x/day", "unlimited/day"]
)
def test_what_is_no_rule_is_refused(typed: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_limit(typed)
    assert refused.value.key == "refusal.quota.rule"


def test_absurd_rules_are_refused() -> None:
    with pytest.raises(BadInput) as refused:
        parse_limit("1000001/day")
    assert refused.value.key == "refusal.quota.rule_too_large"


LIMITS = st.builds(Limit, st.none() | st.integers(0, 1_000_000), st.sampled_from(Window))


@given(LIMITS)
def test_a_written_rule_is_read_back(limit: Limit) -> None:
    assert rate(parse_limit(format_limit(limit))) == rate(limit)


@given(st.text())
def test_any_text_is_a_rule_or_refused(typed: str) -> None:
    try:
        limit = parse_limit(typed)
    except BadInput:
        return
    assert limit.pictures is None or limit.pictures >= 0


def test_the_default_counts_over_all_places() -> None:
    uses = [Use(NOW - 10, 3, here=False), Use(NOW - 20, 4, here=True)]
    assert left(uses=uses) == Allowance(DEFAULT, 7, 43, NOW - 20 + DAY, 4)


def test_windows_roll() -> None:
    uses = [Use(NOW - DAY, 5, here=True), Use(NOW - DAY + 1, 2, here=True), Use(NOW - 1, 1, here=True)]
    found = left(uses=uses)
    assert (found.used, found.returns_at, found.returns) == (3, NOW + 1, 2)


def test_what_was_given_back_is_no_use() -> None:
    assert left(uses=[Use(NOW - 5, 0, here=True)]) == Allowance(DEFAULT, 0, 50)


def test_the_most_specific_of_the_owners_rules_wins() -> None:
    rules = [
        rule(10),
        rule(20, platform="discord"),
        rule(30, platform="discord", place="guild"),
        rule(40, platform="discord", place="guild", role="painter"),
        rule(45, platform="discord", person="ann"),
    ]
    for size, expected in enumerate((10, 20, 30, 40, 45), 1):
        assert left(*rules[:size]).limit == Limit(expected)
        assert left(*reversed(rules[:size])).limit == Limit(expected)


def test_rules_for_others_do_not_bind() -> None:
    others = [
        rule(1, platform="telegram"),
        rule(2, platform="discord", place="elsewhere"),
        rule(3, platform="discord", place="guild", role="stranger"),
        rule(4, platform="discord", person="bob"),
        rule(5, platform="telegram", place="guild"),
        rule(6, platform="discord", place="elsewhere", by_owner=False),
    ]
    assert left(*others).limit == DEFAULT
    assert left(rule(3, platform="discord", place="guild"), place=PRIVATE).limit == DEFAULT


def test_of_several_roles_the_most_generous_counts() -> None:
    rules = [rule(n, platform="discord", place="guild", role=r) for n, r in ((3, "painter"), (9, "guest"))]
    assert left(*rules).limit == Limit(9)


def test_a_rule_for_a_place_counts_what_was_drawn_there() -> None:
    uses = [Use(NOW - 10, 7, here=False), Use(NOW - 5, 1, here=True)]
    found = left(rule(8, platform="discord", place="guild", by_owner=False), uses=uses)
    assert (found.used, found.left, found.in_place) == (1, 7, True)


def test_a_places_rule_narrows_and_never_widens() -> None:
    narrow = rule(5, platform="discord", place="guild", by_owner=False)
    wide = rule(500, platform="discord", place="guild", by_owner=False)
    assert left(narrow).limit == Limit(5)
    assert left(wide).limit == DEFAULT
    # With little left under the owner's rule, that one binds.
    assert left(narrow, uses=[Use(NOW - 9, 48, here=False)]) == Allowance(DEFAULT, 48, 2, NOW - 9 + DAY, 48)


def test_a_places_own_rule_without_a_place_is_no_rule() -> None:
    assert left(rule(1, by_owner=False)).limit == DEFAULT


def test_admins_are_bound_and_owners_are_not() -> None:
    uses = [Use(NOW - 1, 50, here=True)]
    with pytest.raises(OverQuota):
        decide(Actor("discord", "ann", is_admin=True), GUILD, (), DEFAULT, uses, wanted=1, now=NOW)
    exempt = decide(Actor("discord", "ann", is_owner=True), GUILD, (), DEFAULT, uses, wanted=9, now=NOW)
    assert (exempt.left, exempt.used) == (None, 50)


def refusal(wanted: int, *policies: Policy, uses: Sequence[Use] = (), default: Limit = DEFAULT) -> OverQuota:
    with pytest.raises(OverQuota) as refused:
        decide(ANN, GUILD, policies, default, uses, wanted=wanted, now=NOW)
    return refused.value


def test_a_refusal_says_how_many_are_left_and_when_more_come_back() -> None:
    refused = refusal(4, uses=[Use(NOW - 3 * HOUR, 2, here=True), Use(NOW - 60, 45, here=True)])
    assert refused.key == "refusal.quota.left"
    assert refused.params == {
        "n": 3,
        "wanted": 4,
        "limit": 50,
        "window": "@window.day",
        "returns": 2,
        "wait": 21 * HOUR,
    }


def test_other_refusals_say_what_is_the_matter() -> None:
    assert refusal(1, uses=[Use(NOW - 1, 50, here=True)]).key == "refusal.quota.used_up"
    assert refusal(1, uses=[Use(NOW - 1, 90, here=True)]).params["n"] == 0
    assert refusal(9, default=Limit(8)).key == "refusal.quota.too_many"
    assert refusal(1, default=Limit(0)).key == "refusal.quota.closed"
    here = rule(2, platform="discord", place="guild", by_owner=False)
    assert refusal(3, here).key == "refusal.quota.too_many_here"
    assert refusal(2, here, uses=[Use(NOW - 1, 1, here=True)]).key == "refusal.quota.left_here"
    assert refusal(2, here, uses=[Use(NOW - 1, 2, here=True)]).key == "refusal.quota.used_up_here"


@given(
    limit=st.integers(0, 20),
    window=st.sampled_from(Window),
    uses=st.lists(st.builds(Use, st.floats(NOW - 8 * DAY, NOW), st.integers(0, 5), st.booleans()), max_size=12),
    wanted=st.integers(1, 16),
)
def test_what_is_admitted_never_exceeds_the_limit_and_what_fits_is_admitted(
    limit: int, window: Window, uses: list[Use], wanted: int
) -> None:
    used = sum(u.pictures for u in uses if u.at > NOW - window.seconds)
    found = outcome(lambda: decide(ANN, GUILD, (), Limit(limit, window), uses, wanted=wanted, now=NOW))
    if isinstance(found, Allowance):
        assert used + wanted <= limit
        assert (found.used, found.left) == (used, limit - used)
        return
    assert used + wanted > limit
    if "wait" in found.params:
        # At that moment as many more are free as was said.
        later = NOW + float(found.params["wait"]) + 1e-3
        then = decide(ANN, GUILD, (), Limit(limit, window), uses, wanted=0, now=later)
        assert then.used <= used - int(found.params["returns"])


@pytest.mark.parametrize(
    ("wanted", "ceiling", "inside"),
    [
        ("50/day", "50/day", True),
        ("51/day", "50/day", False),
        ("unlimited", "50/day", False),
        ("unlimited", "unlimited", True),
        ("9999/hour", "unlimited", True),
        ("50/hour", "50/day", False),
        ("2/hour", "50/day", True),
        ("350/week", "50/day", True),
        ("351/week", "50/day", False),
        ("0/day", "0/day", True),
    ],
)
def test_a_place_never_promises_more_than_the_owner_gives(wanted: str, ceiling: str, inside: bool) -> None:
    if inside:
        check_ceiling(parse_limit(wanted), parse_limit(ceiling))
        return
    with pytest.raises(OverQuota) as refused:
        check_ceiling(parse_limit(wanted), parse_limit(ceiling))
    assert refused.value.key == "refusal.quota.ceiling"


def test_the_ceiling_is_the_owners_most_specific_rule_there() -> None:
    rules = [
        rule(20, platform="discord"),
        rule(80, platform="discord", place="guild"),
        rule(99, platform="discord", place="guild", role="painter"),
        rule(500, platform="discord", person="ann"),
        rule(7, platform="discord", place="guild", by_owner=False),
    ]
    assert ceiling_of(GUILD, rules, DEFAULT) == Limit(80)
    assert ceiling_of(GUILD, rules, DEFAULT, role="painter") == Limit(99)
    assert ceiling_of(Place("discord", "other", "c"), rules, DEFAULT) == Limit(20)
    assert ceiling_of(Place("telegram", "other", "c"), rules, DEFAULT) == DEFAULT
