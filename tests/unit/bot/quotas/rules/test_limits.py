"""Limits: time windows, costs, what is left, what credits pay for, and the refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import OverQuota
from bot.core.people import Actor, Place
from bot.core.quotas import Allowance, Limit, QuotaRule, RuleTerms, Scope, Unit, Window
from bot.quotas.rules.limits import (
    CreditBalance,
    CreditSplit,
    Remaining,
    UsageEntry,
    cost_each,
    format_points,
    measures_of,
    over_quota,
    pictures_left,
    remaining,
    returns_at,
    split_credits,
    sum_entries,
    tightest,
    time_zone,
    window_start,
)
from bot.quotas.rules.rule_resolution import (
    EffectiveRules,
    RequestedAmounts,
    WaitingJobs,
    check_request,
    check_waiting,
    resolve_rules,
)
from bot.quotas.rules.terms import parse_terms
from engine.contract import Profile
from engine.families.registry import known_models
from engine.families.z_image.spec import demo, z_image_turbo
from tests.fakes.job_rows import REQUEST

BERLIN = ZoneInfo("Europe/Berlin")


def moment(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_windows_roll() -> None:
    assert [1e9 - window_start(w, 1e9, UTC) for w in (Window.HOUR, Window.DAY, Window.WEEK)] == [3600, 86400, 604800]
    assert returns_at(Window.HOUR, 1e9 - 60, 1e9, UTC) == 1e9 + 3540


@pytest.mark.parametrize(
    ("now", "begin", "end"),
    [
        ("2026-11-24T00:00:00", "2026-11-24T00:00:00", "2026-11-25T00:00:00"),
        ("2026-11-24T23:59:59", "2026-11-24T00:00:00", "2026-11-25T00:00:00"),
        ("2026-03-29T12:00:00", "2026-03-29T00:00:00", "2026-03-30T00:00:00"),  # 23 hours long
        ("2026-10-25T12:00:00", "2026-10-25T00:00:00", "2026-10-26T00:00:00"),  # 25 hours long
    ],
)
def test_a_calendar_day_is_the_places_own(now: str, begin: str, end: str) -> None:
    # What was counted on the stroke of midnight is of this day.
    assert (
        window_start(Window.CALENDAR, moment(now), BERLIN)
        < moment(begin)
        <= window_start(Window.CALENDAR, moment(now), BERLIN) + 1
    )
    assert returns_at(Window.CALENDAR, moment(begin), moment(now), BERLIN) == moment(end)


def test_days_have_their_length() -> None:
    days = [moment(f"2026-{day}T12:00:00") for day in ("03-29", "10-25", "11-24")]
    lengths = [returns_at(Window.CALENDAR, 0.0, d, BERLIN) - window_start(Window.CALENDAR, d, BERLIN) for d in days]
    assert [round(length / 3600) for length in lengths] == [23, 25, 24]


@given(st.floats(0, 4e9), st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia")))
def test_now_is_always_inside(now: float, name: str) -> None:
    zone = time_zone(name)
    for window in Window:
        assert window_start(window, now, zone) < now
        assert now < returns_at(window, now, now, zone)


@pytest.mark.parametrize("name", [None, 5, "", "Mars/Olympus", "../../etc/passwd", "\0"])
def test_what_is_no_zone_is_utc(name: object) -> None:
    assert time_zone(name) is UTC


PROFILES = {spec.profile.name: spec.profile for spec in known_models()}


def cost(profile: Profile, width: int, height: int, steps: int) -> int:
    return cost_each(replace(REQUEST, width=width, height=height, steps=steps, model=profile.name), profile)


def test_a_usual_picture_costs_a_point() -> None:
    assert cost(z_image_turbo(), 1024, 1024, 8) == 1000
    assert cost(demo(), 192, 192, 8) == 1000
    assert cost_each(REQUEST, None) == 1000


@pytest.mark.parametrize(
    ("width", "height", "steps", "expected"), [(2048, 2048, 8, 4000), (512, 512, 8, 250), (1024, 1024, 16, 2000)]
)
def test_it_follows_pixels_and_steps(width: int, height: int, steps: int, expected: int) -> None:
    assert cost(z_image_turbo(), width, height, steps) == expected


def test_each_reference_costs_as_much_as_the_picture() -> None:
    request = replace(REQUEST, width=1024, height=1024, steps=8, references=("a", "b"))
    assert cost_each(request, z_image_turbo()) == 3000


def test_samplers_of_the_second_order_cost_both_runs_of_each_step() -> None:
    request = replace(REQUEST, width=1024, height=1024, steps=8, sampler="Heun")
    assert cost_each(request, z_image_turbo()) == 1875  # 15 runs instead of 8
    assert cost_each(replace(request, sampler="UniPC"), z_image_turbo()) == 1000


def test_it_follows_the_model() -> None:
    costs = {name: p.cost for name, p in PROFILES.items()}
    assert costs["z-image"] == pytest.approx(28 / 8 * 2)
    assert costs["sdxl"] == pytest.approx(2_567_463_684 / 6_154_908_736 * 30 / 8 * 2)
    assert costs["sd15"] < 0.25 < costs["z-image-turbo"] < costs["sdxl"] < costs["z-image"]
    sdxl = PROFILES["sdxl"]
    assert cost(sdxl, 1024, 1024, 30) == round(1000 * sdxl.cost)


def test_nothing_is_for_nothing() -> None:
    assert cost(replace(demo(), cost=1e-9), 64, 64, 1) == 1


NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
ANN = Actor("discord", "ann", roles=("painter", "guest"))
GUILD = Place("discord", "guild", "channel")


def effective_rules(owner: str, own: str = "", **scope: str) -> EffectiveRules:
    rules = [QuotaRule(1, Scope("discord", "guild", **scope), parse_terms(own), by_owner=False)] if own else []
    return resolve_rules(ANN, GUILD, rules, parse_terms(owner))


def both_sides(rules: EffectiveRules, uses: Sequence[UsageEntry], cost_each: int = 1000) -> tuple[Remaining, Remaining]:
    used = sum_entries(measures_of(rules, NOW, UTC), uses)
    owner, own = (remaining(rules, used, NOW, UTC, by_owner=b, cost_each=cost_each) for b in (True, False))
    return owner, own


def used(at: float, pictures: int, *, here: bool = True, cost_each: int = 1000, free_here: int = 0) -> UsageEntry:
    return UsageEntry(at, pictures, pictures - free_here, cost_each, here, here)


def test_each_limit_of_a_rule_binds_and_the_tightest_is_first() -> None:
    owner, own = both_sides(effective_rules("5/hour 20/day"), [used(NOW - 60, 2), used(NOW - 2 * HOUR, 17)])
    assert (owner.pictures, own.pictures) == (1, float("inf"))
    assert [(a.limit, a.used, a.left) for a in owner.allowances] == [
        (Limit(20), 19, 1),
        (Limit(5, Window.HOUR), 2, 3),
    ]


def test_uses_leave_their_window() -> None:
    uses = [used(NOW - DAY, 5), used(NOW - DAY + 1, 2), used(NOW - 1, 1)]
    assert both_sides(effective_rules("5/day"), uses)[0].pictures == 2


def test_a_rule_for_a_place_or_channel_counts_what_was_drawn_there() -> None:
    uses = [used(NOW - 10, 7, here=False), used(NOW - 5, 1), UsageEntry(NOW - 5, 1, 1, here=True)]
    owner, own = both_sides(effective_rules("50/day", "8/day"), uses)
    assert (owner.pictures, own.pictures, own.allowances[0].in_place) == (41, 6, True)
    assert both_sides(effective_rules("50/day", "8/day", channel="channel"), uses)[1].pictures == 7


def test_the_places_own_credits_lift_its_own_rule_alone() -> None:
    owner, own = both_sides(effective_rules("50/day", "8/day"), [used(NOW - 5, 6, free_here=4)])
    assert (owner.pictures, own.pictures) == (44, 6)


def test_a_large_picture_does_not_cost_what_a_small_one_does() -> None:
    rules = effective_rules("40 points/day")
    uses = [used(NOW - 5, 1, cost_each=4000), used(NOW - 5, 1, cost_each=250)]
    owner, _ = both_sides(rules, uses, cost_each=4000)
    assert (owner.pictures, owner.allowances[0].used, owner.allowances[0].left) == (8, 4250, 35_750)
    assert both_sides(rules, uses, cost_each=250)[0].pictures == 143
    assert [format_points(n) for n in (0, 250, 4250, 40_000, 1)] == ["0", "0.25", "4.25", "40", "0.001"]


def test_of_several_roles_the_most_generous_counts() -> None:
    rules = [
        QuotaRule(n, Scope("discord", "guild", role=role), parse_terms(f"{n}/day"), by_owner=True)
        for n, role in ((3, "painter"), (9, "guest"))
    ]
    effective = resolve_rules(ANN, GUILD, rules, Limit(50))
    found = remaining(effective, sum_entries(measures_of(effective, NOW, UTC), []), NOW, UTC, by_owner=True)
    assert found.allowances[0].limit == Limit(9)


LEFT = st.integers(0, 9) | st.just(float("inf"))


@given(LEFT, LEFT, st.integers(0, 9), st.integers(0, 9), st.integers(1, 16))
def test_credits_pay_for_no_more_than_they_have_to(
    owner_left: float, own_left: float, owners: int, own: int, wanted: int
) -> None:
    """By hand: every way to pay is tried, and the one that spends least of what lifts every rule is the one taken."""
    ways = [
        (free, free_here)
        for free in range(owners + 1)
        for free_here in range(own + 1)
        if free + free_here <= wanted and wanted - free <= owner_left and wanted - free - free_here <= own_left
    ]
    balance = CreditBalance(owners, own)
    found = split_credits(Remaining(owner_left), Remaining(own_left), balance, wanted)
    assert found == (CreditSplit(*min(ways)) if ways else None)
    assert (wanted <= pictures_left(Remaining(owner_left), Remaining(own_left), balance)) is bool(ways)


def refusal(
    wanted: int, owner: str, own: str = "", uses: Sequence[UsageEntry] = (), cost_each: int = 1000
) -> OverQuota:
    mine, theirs = both_sides(effective_rules(owner, own), uses, cost_each)
    blamed = tightest(mine, theirs, CreditBalance())
    first = min((u.at for u in uses), default=None)
    allowance = blamed.allowances[0]
    if first is not None:
        allowance = Allowance(
            allowance.limit, allowance.used, allowance.left, first + DAY, 2, allowance.in_place, allowance.by_owner
        )
    rest = int(pictures_left(mine, theirs, CreditBalance()))
    return over_quota(allowance, left=rest, count=wanted, cost_each=cost_each, now=NOW)


def test_a_refusal_says_how_many_are_left_and_when_more_come_back() -> None:
    refused = refusal(4, "50/day", uses=[used(NOW - 3 * HOUR, 2), used(NOW - 60, 45)])
    assert (refused.key, refused.params) == (
        "refusal.quota.left",
        {"n": 3, "wanted": 4, "limit": 50, "window": "window.day", "returns": 2, "wait": 21 * HOUR},
    )


def test_other_refusals_say_what_is_the_matter() -> None:
    gone = [used(NOW - 1, 50)]
    assert refusal(1, "50/day", uses=gone).key == "refusal.quota.used_up"
    assert refusal(1, "50/day", uses=[used(NOW - 1, 90)]).params["n"] == 0
    assert refusal(9, "8/day").key == "refusal.quota.too_many"
    assert refusal(1, "0/day").key == "refusal.quota.closed"
    assert refusal(1, "50/day", "0/day").key == "refusal.quota.closed_here"
    assert refusal(3, "50/day", "2/day").key == "refusal.quota.too_many_here"
    assert refusal(2, "50/day", "2/day", [used(NOW - 1, 1)]).key == "refusal.quota.left_here"
    assert refusal(2, "50/day", "2/day", [used(NOW - 1, 2)]).key == "refusal.quota.used_up_here"


def test_a_refusal_in_points_says_what_it_costs() -> None:
    refused = refusal(2, "5 points/day", uses=[used(NOW - 1, 1, cost_each=500)], cost_each=4000)
    assert (refused.key, refused.params["cost"], refused.params["left"]) == ("refusal.quota.points_left", "8", "4.5")
    assert refusal(2, "50/day", "5 points/day", cost_each=4000).key == "refusal.quota.points_too_many_here"


ASKED = RequestedAmounts(count=2, width=1024, height=512, steps=12, model="sdxl")


@pytest.mark.parametrize(
    ("owner", "own", "key", "params"),
    [
        ("count 1", "", "count", {"wanted": 2, "n": 1, "by": "quota.by.owner"}),
        ("count 2", "count 1", "count", {"wanted": 2, "n": 1, "by": "quota.by.place"}),
        ("size 512x512", "", "pixels", {"size": "1024x512", "most": "512x512", "by": "quota.by.owner"}),
        ("steps 20", "steps 8", "steps", {"wanted": 12, "most": 8, "by": "quota.by.place"}),
        ("steps 8", "steps 10", "steps", {"wanted": 12, "most": 8, "by": "quota.by.owner"}),
        ("models demo,sd15", "", "models", {"model": "sdxl", "known": "demo, sd15", "by": "quota.by.owner"}),
    ],
)
def test_one_request_alone_may_be_too_much(owner: str, own: str, key: str, params: dict[str, object]) -> None:
    with pytest.raises(OverQuota) as refused:
        check_request(effective_rules(owner, own), ASKED)
    assert (refused.value.key, refused.value.params) == (f"refusal.quota.{key}", params)


def test_what_keeps_to_every_rule_is_let_through() -> None:
    check_request(effective_rules("count 2 size 1024x512 steps 12 models sdxl", "count 2 steps 12"), ASKED)
    check_waiting(effective_rules("at-once 3", "at-once 2"), WaitingJobs(2, 1, 0, 7), lambda _: None)


@pytest.mark.parametrize(
    ("owner", "own", "scope", "waiting"),
    [
        ("at-once 3", "", {}, WaitingJobs(3, 0, 0, 7)),
        ("at-once 9", "at-once 2", {}, WaitingJobs(2, 2, 0, 7)),
        ("at-once 9", "at-once 1", {"channel": "channel"}, WaitingJobs(2, 2, 1, 7)),
    ],
)
def test_only_so_many_may_wait(owner: str, own: str, scope: dict[str, str], waiting: WaitingJobs) -> None:
    rules = effective_rules(owner, own, **scope)
    with pytest.raises(OverQuota) as refused:
        check_waiting(rules, waiting, lambda job_id: {7: 30.0}[job_id])
    assert (refused.value.key, refused.value.params["wait"]) == ("refusal.quota.at_once_eta", 30.0)
    with pytest.raises(OverQuota) as refused:
        check_waiting(rules, waiting, lambda _: None)
    assert refused.value.key == "refusal.quota.at_once"


@given(
    owner=st.lists(st.builds(Limit, st.integers(0, 20), st.sampled_from(Window), st.sampled_from(Unit)), max_size=2),
    own=st.lists(st.builds(Limit, st.integers(0, 20), st.sampled_from(Window), st.sampled_from(Unit)), max_size=2),
    uses=st.lists(
        st.builds(
            UsageEntry, st.floats(NOW - 8 * DAY, NOW), st.integers(0, 3), st.just(0), st.sampled_from((250, 4000))
        ),
        max_size=8,
    ),
    wanted=st.integers(1, 16),
)
def test_a_place_never_lets_anybody_have_more(
    owner: list[Limit], own: list[Limit], uses: list[UsageEntry], wanted: int
) -> None:
    alone = resolve_rules(ANN, GUILD, [], RuleTerms(tuple(owner)))
    both = resolve_rules(
        ANN,
        GUILD,
        [QuotaRule(1, Scope("discord", "guild"), RuleTerms(tuple(own)), by_owner=False)],
        RuleTerms(tuple(owner)),
    )
    fits, still = (split_credits(*both_sides(b, uses), CreditBalance(), wanted) is not None for b in (alone, both))
    assert fits or not still
