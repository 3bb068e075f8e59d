"""Which rules bind: the most specific in each dimension; a place's own narrow the owner's and never widen them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import OverQuota
from bot.core.people import Actor, Place
from bot.core.quotas import Dimension, Limit, QuotaRule, RuleTerms, Scope
from bot.quotas.rules.rule_resolution import EffectiveRules, check_ceiling, rate, resolve_rules
from bot.quotas.rules.terms import parse_terms

ANN = Actor("discord", "ann", roles=("painter", "guest"))
GUILD = Place("discord", "guild", "channel")
PRIVATE = Place("discord", None, "dm")
DEFAULT = Limit(50)
HERE = {"platform": "discord", "place": "guild"}


def rule(number: int, terms: str, **scope: str) -> QuotaRule:
    return QuotaRule(number, Scope(**scope), parse_terms(terms), by_owner=True)


def own(number: int, terms: str, **scope: str) -> QuotaRule:
    return QuotaRule(number, Scope(**scope), parse_terms(terms), by_owner=False)


def found(*policies: QuotaRule, actor: Actor = ANN, place: Place = GUILD) -> EffectiveRules:
    return resolve_rules(actor, place, policies, DEFAULT)


def ids(bindings: EffectiveRules, dimension: Dimension = Dimension.LIMITS, *, by_owner: bool = True) -> tuple[int, ...]:
    reason = bindings.reason(dimension, by_owner=by_owner)
    return () if reason is None else tuple(policy.id for policy in reason.rules)


LADDER = (
    rule(1, "10/day"),
    rule(2, "20/day", platform="discord"),
    rule(3, "30/day", **HERE),
    rule(4, "35/day", **HERE, channel="channel"),
    rule(5, "40/day", **HERE, role="painter"),
    rule(6, "45/day", platform="discord", person="ann"),
    rule(7, "46/day", **HERE, person="ann"),
)


def test_the_most_specific_of_the_owners_rules_wins_and_stands_before_the_others() -> None:
    for size in range(1, len(LADDER) + 1):
        for rules in (LADDER[:size], LADDER[:size][::-1]):
            reason = found(*rules).reason(Dimension.LIMITS, by_owner=True)
            assert reason is not None
            assert [policy.id for policy in reason.rules] == [size]
            assert [policy.id for policy in reason.overridden] == list(range(size - 1, -1, -1))


def test_each_dimension_is_decided_for_itself() -> None:
    rules = [
        rule(1, "count 4 steps 20"),
        rule(2, "steps 9", **HERE),
        rule(3, "count 8", platform="discord", person="ann"),
    ]
    bindings = found(*rules)
    assert (ids(bindings), ids(bindings, Dimension.COUNT), ids(bindings, Dimension.STEPS)) == ((0,), (3,), (2,))
    assert bindings.request_terms() == RuleTerms(count=8, steps=9)


def test_the_tighter_of_the_owners_and_the_places_own_binds() -> None:
    rules = [
        rule(1, "at-once 4 count 4 models demo,sdxl size 512x512"),
        own(2, "at-once 2 count 9 models demo,sd15 size 1024x1024", **HERE),
    ]
    assert found(*rules).request_terms() == RuleTerms(at_once=2, count=4, pixels=512 * 512, models=frozenset({"demo"}))


def test_rules_for_others_do_not_bind() -> None:
    others = [
        rule(1, "1/day", platform="telegram"),
        rule(2, "2/day", platform="discord", place="elsewhere"),
        rule(3, "3/day", **HERE, role="stranger"),
        rule(4, "4/day", platform="discord", person="bob"),
        rule(5, "5/day", platform="telegram", place="guild"),
        own(6, "6/day", platform="discord", place="elsewhere"),
        rule(7, "7/day", **HERE, channel="elsewhere"),
        own(8, "8/day"),  # a place's own rule without a place is none
    ]
    assert ids(found(*others)) == (0,)
    assert ids(found(*others), by_owner=False) == ()
    assert ids(found(rule(3, "3/day", **HERE), rule(4, "3/day", **HERE, channel="dm"), place=PRIVATE)) == (0,)


def test_a_rule_for_a_person_is_for_all_their_accounts() -> None:
    mine = rule(1, "1/day", platform="discord", person="old")
    assert ids(resolve_rules(ANN, GUILD, [mine], DEFAULT, accounts=("old",))) == (1,)
    assert ids(resolve_rules(ANN, GUILD, [mine], DEFAULT)) == (0,)


def test_of_several_roles_the_most_generous_counts() -> None:
    rules = [rule(n, f"count {n} models m{n}", **HERE, role=r) for n, r in ((3, "painter"), (9, "guest"))]
    bindings = found(*rules)
    assert bindings.request_terms() == RuleTerms(count=9, models=frozenset({"m3", "m9"}))
    assert found(*rules, rule(5, "unlimited", **HERE, role="guest")).request_terms() == RuleTerms()


def test_an_exempt_role_is_let_off_everything_but_what_its_rule_names() -> None:
    rules = [rule(1, "5/day count 1 steps 9"), rule(2, "unlimited steps 20", **HERE, role="painter")]
    bindings = found(*rules)
    assert ids(bindings) == (2,)
    assert bindings.request_terms() == RuleTerms(steps=20)


def test_a_stored_rule_for_everybody_stands_before_the_setting() -> None:
    assert ids(found(rule(1, "5/day"))) == (1,)
    # Where it says nothing on how many, the setting still holds.
    assert ids(found(rule(1, "count 1"))) == (0,)


SCOPES = st.builds(
    Scope,
    platform=st.sampled_from((None, "discord", "telegram")),
    place=st.sampled_from((None, "guild", "other")),
    role=st.sampled_from((None, "painter", "guest", "x")),
    person=st.sampled_from((None, "ann", "bob")),
    channel=st.sampled_from((None, "channel", "other")),
)
VALUES = st.builds(
    RuleTerms,
    limits=st.sampled_from(((), (Limit(3),), (Limit(None),))),
    count=st.none() | st.integers(1, 9),
    steps=st.none() | st.integers(1, 9),
)
POLICIES = st.lists(
    st.builds(QuotaRule, st.integers(1, 10**6), SCOPES, VALUES, st.booleans()),
    max_size=8,
    unique_by=(lambda p: (p.scope, p.by_owner), lambda p: p.id),
)
RANKS = ("person", "role", "channel", "place", "platform")


def holds(policy: QuotaRule) -> bool:
    """By hand: whether a rule is for Ann in her guild's channel."""
    scope = policy.scope
    return (
        scope.platform in {None, "discord"}
        and scope.place in {None, "guild"}
        and scope.channel in {None, "channel"}
        and scope.role in {None, "painter", "guest"}
        and scope.person in {None, "ann"}
        and (policy.by_owner or scope.place is not None)
    )


@given(POLICIES)
def test_no_rule_that_holds_is_more_specific_than_one_that_binds(policies: list[QuotaRule]) -> None:
    bindings = resolve_rules(ANN, GUILD, policies, DEFAULT)
    for by_owner in (True, False):
        for dimension in (Dimension.LIMITS, Dimension.COUNT, Dimension.STEPS):
            rows = [p for p in policies if p.by_owner is by_owner and holds(p) and p.terms.decides(dimension)]
            ranks = {p.id: [getattr(p.scope, part) is None for part in RANKS] for p in rows}
            best = {p.id for p in rows if ranks[p.id] == min(ranks.values())}
            chosen = set(ids(bindings, dimension, by_owner=by_owner)) - {0}
            assert chosen == best


@given(POLICIES)
def test_a_place_never_widens(policies: list[QuotaRule]) -> None:
    owners = [policy for policy in policies if policy.by_owner]
    before, after = resolve_rules(ANN, GUILD, owners, DEFAULT), resolve_rules(ANN, GUILD, policies, DEFAULT)
    assert before.reason(Dimension.LIMITS, by_owner=True) == after.reason(Dimension.LIMITS, by_owner=True)
    for dimension in (Dimension.COUNT, Dimension.STEPS):
        ceiling, allowed = before.request_terms().maximum(dimension), after.request_terms().maximum(dimension)
        assert ceiling is None or (allowed is not None and allowed <= ceiling)


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
        ("50/calendar day", "50/day", True),
        ("0/day", "0/day", True),
        ("20/day", "5/hour 20/day", True),
        ("21/day", "5/hour 20/day", False),
        ("5/hour 20/day", "20/day", True),  # the tighter of the two keeps to it
        ("5/hour 30/day", "20/day", False),
        ("40 points/day", "50/day", True),  # not to be compared: both bind
        ("60 points/day", "50 points/day", False),
        ("at-once 3", "at-once 2", False),
        ("at-once 2", "at-once 2", True),
        ("count 5", "count 4", False),
        ("size 1024x1025", "size 1024x1024", False),
        ("steps 10", "steps 9", False),
        ("models demo,sdxl", "models demo", False),
        ("models demo", "models demo,sdxl", True),
        ("count 99 steps 99", "5/day", True),
    ],
)
def test_a_place_never_allows_more_than_the_owner(wanted: str, ceiling: str, inside: bool) -> None:
    place = Scope(**HERE)
    bindings = resolve_rules(Actor("discord", ""), GUILD, [], parse_terms(ceiling))
    if inside:
        check_ceiling(parse_terms(wanted), place, bindings)
        return
    with pytest.raises(OverQuota) as refused:
        check_ceiling(parse_terms(wanted), place, bindings)
    said = "{limit}{window}{rule}".format_map({"limit": "", "window": "", "rule": "", **refused.value.params})
    assert said.replace("window.", "/") in ceiling


def test_an_exemption_from_a_places_rules_adds_nothing() -> None:
    bindings = resolve_rules(ANN, GUILD, [], DEFAULT)
    for scope in (Scope(**HERE, role="painter"), Scope(**HERE, person="ann"), Scope(**HERE, channel="channel")):
        check_ceiling(parse_terms("unlimited"), scope, bindings)
        with pytest.raises(OverQuota):
            check_ceiling(parse_terms("51/day"), scope, bindings)


def test_the_ceiling_is_the_owners_most_specific_rule_there() -> None:
    def ceiling(place: Place, *roles: str) -> float:
        rules = [
            rule(1, "20/day", platform="discord"),
            rule(2, "80/day", **HERE),
            rule(3, "99/day", **HERE, role="painter"),
            rule(4, "500/day", platform="discord", person="ann"),
            own(5, "7/day", **HERE),
        ]
        reason = resolve_rules(Actor(place.platform, "", roles=roles), place, rules, DEFAULT).reason(
            Dimension.LIMITS, by_owner=True
        )
        assert reason is not None
        return rate(reason.rules[0].terms.limits[0]) * 86400

    assert ceiling(GUILD) == 80
    assert ceiling(GUILD, "painter") == 99
    assert ceiling(Place("discord", "other", "c")) == 20
    assert ceiling(Place("telegram", "other", "c")) == 50
