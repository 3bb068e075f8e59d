"""Quotas: reading rules, choosing the ones that bind, and deciding whether a request fits. No clock, no database."""

from bot.quotas.rules.ceilings import check_ceiling, rate
from bot.quotas.rules.counting import Asker, Measure, Use, counted, measure_of, measures
from bot.quotas.rules.deciding import CreditBalance, CreditSplit, Remaining, left, room, share, tightest
from bot.quotas.rules.refusals import (
    RequestedAmounts,
    WaitingJobs,
    check_request,
    check_waiting,
    over,
    points,
    waiting_of,
)
from bot.quotas.rules.rule_resolution import Bindings, bind, terms_of
from bot.quotas.rules.terms import (
    MOST,
    dump_terms,
    format_limit,
    format_pixels,
    format_terms,
    load_terms,
    parse_limit,
    parse_terms,
)
from bot.quotas.rules.windows import returns_at, since, zone_of

__all__ = [
    "MOST",
    "Asker",
    "Bindings",
    "CreditBalance",
    "CreditSplit",
    "Measure",
    "Remaining",
    "RequestedAmounts",
    "Use",
    "WaitingJobs",
    "bind",
    "check_ceiling",
    "check_request",
    "check_waiting",
    "counted",
    "dump_terms",
    "format_limit",
    "format_pixels",
    "format_terms",
    "left",
    "load_terms",
    "measure_of",
    "measures",
    "over",
    "parse_limit",
    "parse_terms",
    "points",
    "rate",
    "returns_at",
    "room",
    "share",
    "since",
    "terms_of",
    "tightest",
    "waiting_of",
    "zone_of",
]
