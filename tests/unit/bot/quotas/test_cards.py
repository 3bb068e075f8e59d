"""Cards about quotas: what is left, why, what was set, what was given."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bot.cards.i18n import LOCALES
from bot.core.cards import Instant
from bot.core.quotas import (
    Allowance,
    Credit,
    CreditKind,
    Dimension,
    Limit,
    QuotaRule,
    QuotaStatus,
    Reason,
    RuleTerms,
    Scope,
    Unit,
    Window,
)
from bot.quotas.cards import (
    ceiling_card,
    credits_card,
    limit_text,
    quota_card,
    quota_reset_card,
    quota_set_card,
    terms_text,
    why_card,
)
from bot.quotas.rules.terms import parse_terms

NOW = 1_000_000.0
FIVE = Allowance(Limit(5), 3, 2, NOW + 7200, 1)
EVERYTHING = parse_terms("5/hour 40 points/calendar day at-once 2 count 1 size 1024x768 steps 12 models demo,sdxl")
HAN = re.compile(r"[\u4e00-\u9fff]")


def test_what_is_left_and_when_more_come_back() -> None:
    found = quota_card(QuotaStatus(2, (FIVE,), now=NOW), "en")
    assert found.status == "You may ask for 2 more pictures now."
    assert [(f.label, f.value) for f in found.facts] == [
        ("Quota", "5 pictures per day"),
        ("Counts what was drawn", "everywhere"),
        ("Used", "3"),
        ("Left", "2"),
        ("More come back", "1 picture in 2 hours"),
    ]
    assert found.private
    assert (found.headline, " · ".join(found.summary)) == (
        "You may ask for 2 more pictures now.",
        "3 of 5 pictures per day used · +1 in 2 hours",
    )
    assert found.instants == (Instant("in 2 hours", NOW + 7200),)


def test_in_chinese() -> None:
    week = Allowance(Limit(5, Window.WEEK), 3, 2, NOW + 7200, 1, in_place=True)
    found = quota_card(QuotaStatus(2, (week,), now=NOW), "zh_CN")
    assert [f.value for f in found.facts] == ["每周 5 张", "仅限这里", "3", "2", "2 小时后恢复 1 张"]
    assert " · ".join(found.summary) == "在这里已用 3（每周 5 张） · 2 小时后 +1"


def test_no_limit_and_nothing_used() -> None:
    unlimited = QuotaStatus(None, (Allowance(Limit(None), 9, None),), now=NOW)
    assert [f.value for f in quota_card(unlimited, "en").facts] == ["unlimited", "everywhere", "9"]
    assert len(quota_card(QuotaStatus(5, (Allowance(Limit(5), 0, 5),), now=NOW), "en").facts) == 4
    assert quota_card(QuotaStatus(None, ()), "en").facts[0].value == "unlimited"
    assert quota_card(QuotaStatus(None, ()), "en").summary == quota_card(unlimited, "en").summary == ("unlimited",)


def test_points_credits_and_what_each_request_may_be() -> None:
    points = Allowance(Limit(40, unit=Unit.POINTS), 1500, 38_500, NOW + 3600, 250)
    extra = (Credit(1, CreditKind.BONUS, 3, NOW + 86400, True), Credit(2, CreditKind.BORROWED, 1, NOW + 3600, False))
    found = quota_card(
        QuotaStatus(41, (points,), extra, RuleTerms(at_once=2, steps=9), waiting=1, now=NOW), "en", name="@Bob"
    )
    assert found.status == "@Bob may ask for 41 more pictures now."
    assert [(f.label, f.value) for f in found.facts] == [
        ("Quota", "40 points per day"),
        ("Counts what was drawn", "everywhere"),
        ("Used", "1.5"),
        ("Left", "38.5"),
        ("More come back", "0.25 points in 60 minutes"),
        ("On top", "3 pictures, to be used in 24 hours"),
        ("On top", "1 borrowed picture, due in 60 minutes"),
        ("Each request", "at most 2 requests waiting at a time, at most 9 steps"),
        ("Waiting now", "1"),
    ]
    assert found.summary == (
        "1.5 of 40 points per day used",
        "+0.25 in 60 minutes",
        "3 pictures, to be used in 24 hours",
        "1 borrowed picture, due in 60 minutes",
        "1 of 2 waiting",
    )
    assert [moment.at - NOW for moment in found.instants] == [3600, 86400, 3600]


def test_a_rule_in_words() -> None:
    assert terms_text(EVERYTHING, "en") == (
        "5 pictures per hour, 40 points per calendar day, at most 2 requests waiting at a time,"
        " at most 1 picture in one go, at most as many pixels as 1024x768, at most 12 steps, models: demo, sdxl"
    )
    assert terms_text(EVERYTHING, "zh_CN") == (
        "每小时 5 张，每自然日 40 点，同时最多 2 个请求在等，一次最多 1 张，像素总数最多相当于 1024x768，最多 12 步，模型：demo, sdxl"
    )
    assert limit_text(Limit(None), "zh_CN") == "不限"


def test_a_rule_that_was_set_is_for_everybody_to_see() -> None:
    terms = RuleTerms((Limit(1, Window.HOUR),))
    found = quota_set_card(terms, "en")
    assert (found.facts[0].value, found.private) == ("1 picture per hour", False)
    cards = [found, *(quota_set_card(terms, "en", **{who: "Ann"}) for who in ("role", "channel", "person"))]
    assert len({card.status for card in cards}) == 4
    assert [f.value for f in cards[3].facts] == ["Ann", "1 picture per hour"]
    assert quota_reset_card(terms, "en").facts[0].label == "Was"
    assert ceiling_card(terms, "en", person="web:1").facts[0].value == "web:1"
    assert ceiling_card(None, "en").facts == ()


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", CreditKind)
def test_what_was_given_and_for_how_long(kind: CreditKind, locale: str) -> None:
    found = credits_card(5, kind, locale, wait=3 * 86400, name="@Bob", everywhere=False)
    assert "@Bob" in found.status
    assert ("3 days" if locale == "en" else "3 天") in found.status
    assert found.notes != credits_card(5, kind, locale, wait=9.0, name="Bob", everywhere=True).notes


def policy(number: int, terms: str, **scope: str) -> QuotaRule:
    return QuotaRule(number, Scope(**scope), parse_terms(terms), by_owner=True)


def test_why_names_the_rule_who_set_it_and_what_it_stands_before() -> None:
    everybody = policy(0, "50/day")
    member = policy(1, "20/day at-once 2", platform="chat", place="g", role="7")
    guest = policy(2, "5/day", platform="chat", place="g", role="8")
    place = replace(policy(3, "unlimited", platform="chat", place="g"), by_owner=False)
    reasons = [
        Reason(Dimension.LIMITS, True, (member, guest), (everybody,)),
        Reason(Dimension.LIMITS, False, (place,)),
        Reason(Dimension.AT_ONCE, True, (member,)),
        Reason(Dimension.STEPS, False, (place,)),
    ]
    found = why_card(reasons, "en")
    assert found.private
    assert found.notes == (
        (
            "20 pictures per day: the rule for one of your roles, set by the owners of this Easel; it is more specific than"
            " 50 pictures per day for everybody. Of several roles the most generous counts."
        ),
        "unlimited: the rule for this place, set by the admins of this place.",
        "at most 2 requests waiting at a time: the rule for one of your roles, set by the owners of this Easel.",
        "any number of steps: the rule for this place, set by the admins of this place.",
        "What the owners set and what this place set hold both; the tighter one counts.",
    )
    # The setting's name is the operator's.
    note = why_card([Reason(Dimension.LIMITS, True, (everybody,))], "en").notes[0]
    assert note == "50 pictures per day: the rule for everybody, set by the owners of this Easel."


@pytest.mark.parametrize("locale", LOCALES)
def test_why_knows_every_scope_and_says_so_when_roles_are_unknown(locale: str) -> None:
    scopes: list[dict[str, str]] = [
        {},
        {"platform": "discord"},
        {"platform": "discord", "place": "g"},
        {"platform": "discord", "place": "g", "channel": "c"},
        {"platform": "discord", "place": "g", "role": "r"},
        {"platform": "discord", "person": "p"},
    ]
    reasons = [Reason(Dimension.LIMITS, True, (policy(1, "5/day", **scope),)) for scope in scopes]
    own = why_card(reasons, locale)
    assert len(set(own.notes)) == len(scopes)
    theirs = why_card(reasons, locale, name="Bob", roles_known=False)
    assert "Bob" in theirs.status
    assert "Bob" in theirs.notes[5]
    assert len(theirs.notes) == len(scopes) + 1
    assert all(bool(HAN.search(note)) is (locale == "zh_CN") for note in theirs.notes)


def test_nothing_holds_for_owners() -> None:
    assert why_card((), "en").status == "No rule holds for owners of this Easel."


def test_a_placeholder_is_no_key() -> None:
    standing = replace(QuotaStatus(None, ()), left=1)
    assert quota_card(standing, "en", name="window.day").status.startswith("window.day may")
