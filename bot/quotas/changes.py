"""Quota rules and credits as changes by admins, which can be undone."""

from __future__ import annotations

from collections.abc import Mapping

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.people import Actor, Place
from bot.core.quotas import CreditKind, QuotaRule, RuleTerms, Scope
from bot.quotas import rules
from bot.quotas.quota_status import bind
from bot.quotas.store import credits as credit_rows
from bot.quotas.store import rules as rule_rows
from bot.quotas.store.credits import Grant
from bot.storage import people
from bot.storage.database import Tx

_PARTS = ("platform", "place", "channel", "role", "person")


async def _get_rule(tx: Tx, subject: Subject) -> Value:
    policy = await rule_rows.get(tx, _scope(subject), by_owner=bool(subject["by_owner"]))
    return None if policy is None else value_of(policy.terms)


async def _put_rule(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    scope, by_owner = _scope(subject), bool(subject["by_owner"])
    if value is None:
        await rule_rows.remove(tx, scope, by_owner=by_owner)
        return
    said = value["terms"]
    assert isinstance(said, Mapping)
    await rule_rows.put(tx, scope, rules.load_terms(said), by_owner=by_owner, set_by=set_by, now=now)


POLICY = Undoable("policy", _get_rule, _put_rule)
"""Subject: the scope's parts and ``by_owner``. Value: ``{"terms": {...}}``."""


def subject_of(scope: Scope, *, by_owner: bool) -> Subject:
    """Return the name of a rule among what can be changed."""
    return {**{part: getattr(scope, part) for part in _PARTS}, "by_owner": by_owner}


def value_of(terms: RuleTerms) -> Value:
    """Return a rule's terms as they are written down."""
    return {"terms": rules.dump_terms(terms)}


async def rule_change(
    tx: Tx, scope: Scope, terms: RuleTerms | None, *, by_owner: bool, by: str, now: float, action: str
) -> RuleTerms | None:
    """Set a rule, or take it away, and write down who did; returns what was there before. Nothing is checked here.

    Args:
        tx: A writing transaction.
        scope: Whom it is for.
        terms: What it says; None takes it away.
        by_owner: An owner's rule, which owners alone may read in the log and undo; or one of the place's own.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
        action: What the log calls it.
    """
    subject = subject_of(scope, by_owner=by_owner)
    value = None if terms is None else value_of(terms)
    before = await POLICY.get(tx, subject)
    if before != value:
        where = None
        if not by_owner and scope.platform is not None:
            where = Place(scope.platform, scope.place, "")
        await changes.apply_change(tx, Change(POLICY, action, subject, value, where), by=by, now=now)
    if before is None:
        return None
    said = before["terms"]
    assert isinstance(said, Mapping)
    return rules.load_terms(said)


async def check_ceiling(tx: Tx, ctx: AppContext, scope: Scope, terms: RuleTerms) -> None:
    """Raise OverQuota, which names what the owner allows, where a place's own rule would be above it."""
    assert scope.platform is not None
    roles = () if scope.role is None else (scope.role,)
    somebody = Actor(scope.platform, scope.person or "", roles=roles)
    known = None if scope.person is None else await people.find(tx, scope.platform, scope.person)
    place = Place(scope.platform, scope.place, scope.channel or "")
    binding = await bind(tx, ctx, somebody, place, None if known is None else known.id)
    rules.check_ceiling(terms, scope, binding)


async def own_rule(tx: Tx, place: Place) -> tuple[QuotaRule, ...]:
    """Return a place's own rules."""
    found = await rule_rows.concerning(tx, place.platform, place.guild)
    return tuple(policy for policy in found if not policy.by_owner and policy.scope.place is not None)


def _scope(subject: Subject) -> Scope:
    parts = {part: subject.get(part) for part in _PARTS}
    return Scope(**{part: None if value is None else str(value) for part, value in parts.items()})


USUAL_SECONDS = {CreditKind.BONUS: 7 * 86400.0, CreditKind.BORROWED: 86400.0}
"""How long credits last where nobody says."""


async def _get_credit(tx: Tx, subject: Subject) -> Value:
    grant = await credit_rows.of_event(tx, str(subject["event"]))
    return None if grant is None else _value(grant)


async def _put_credit(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    event = str(subject["event"])
    if value is None:
        await credit_rows.revoke(tx, event, now=now)
        return
    place_id = value["place_id"]
    grant = Grant(
        person_id=int(str(value["person_id"])),
        place_id=None if place_id is None else int(str(place_id)),
        kind=CreditKind(str(value["kind"])),
        pictures=int(str(value["pictures"])),
        by_owner=bool(value["by_owner"]),
        expires_at=float(str(value["expires_at"])),
    )
    await credit_rows.give(tx, event, grant, given_by=set_by, now=now)


CREDIT = Undoable("credit", _get_credit, _put_credit)
"""Subject: the ``event`` that gave. Value: the Grant's fields; None takes back what is left."""


async def credit_change(tx: Tx, event: str, grant: Grant, place: Place | None, *, by: str, now: float) -> Grant:
    """Give or lend, once for each event, and write down who did. Nothing is checked here.

    Args:
        tx: A writing transaction.
        event: The platform's own name of what caused it.
        grant: What.
        place: Whose admins may read it in the log and undo it; None: owners alone.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.

    Returns:
        What the event gave: the one that is there already when it came before.
    """
    there = await credit_rows.of_event(tx, event)
    if there is not None:
        return there
    if not await credit_rows.was_given(tx, event):
        action = "quota grant" if grant.kind is CreditKind.BONUS else "quota lend"
        await changes.apply_change(tx, Change(CREDIT, action, {"event": event}, _value(grant), place), by=by, now=now)
    return grant


def _value(grant: Grant) -> Value:
    return {
        "person_id": grant.person_id,
        "place_id": grant.place_id,
        "kind": grant.kind.value,
        "pictures": grant.pictures,
        "by_owner": grant.by_owner,
        "expires_at": grant.expires_at,
    }
