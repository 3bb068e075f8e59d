"""Quotas: reading rules, choosing the ones that bind, and deciding whether a request fits. No clock, no database."""

from bot.policy.quotas.binding import Bindings, bind, terms_of
from bot.policy.quotas.ceilings import check_ceiling, rate
from bot.policy.quotas.counting import Asker, Measure, Use, counted, measure_of, measures
from bot.policy.quotas.deciding import Purse, Room, Share, left, room, share, tightest
from bot.policy.quotas.refusals import Asked, Waiting, check_request, check_waiting, over, points, waiting_of
from bot.policy.quotas.terms import (
    MOST,
    dump_terms,
    format_limit,
    format_pixels,
    format_terms,
    load_terms,
    parse_limit,
    parse_terms,
)
from bot.policy.quotas.windows import returns_at, since, zone_of

__all__ = [
    "MOST",
    "Asked",
    "Asker",
    "Bindings",
    "Measure",
    "Purse",
    "Room",
    "Share",
    "Use",
    "Waiting",
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
