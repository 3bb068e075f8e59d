"""Undoable changes of quotas: setting rules, and granting or lending credits."""

from __future__ import annotations

from collections.abc import Mapping

from bot.audit import changes
from bot.audit.changes import Change, Subject, Undoable, Value
from bot.context import AppContext
from bot.core.people import Actor, Place
from bot.core.quotas import CreditKind, QuotaRule, RuleTerms, Scope
from bot.quotas.rules import rule_resolution
from bot.quotas.rules.terms import dump_terms, load_terms
from bot.quotas.store import ledger as credit_rows
from bot.quotas.store import rules as rule_rows
from bot.quotas.store.ledger import Grant
from bot.quotas.usage import load_rules
from bot.storage import people
from bot.storage.database import Tx

_SCOPE_PARTS = ("platform", "place", "channel", "role", "person")

DEFAULT_SECONDS = {CreditKind.BONUS: 7 * 86400.0, CreditKind.BORROWED: 86400.0}
"""How long credits last without a given span."""


async def _get_rule(tx: Tx, subject: Subject) -> Value:
    rule = await rule_rows.get_rule(tx, _scope(subject), by_owner=bool(subject["by_owner"]))
    return None if rule is None else rule_value(rule.terms)


async def _put_rule(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    scope, by_owner = _scope(subject), bool(subject["by_owner"])
    if value is None:
        await rule_rows.remove_rule(tx, scope, by_owner=by_owner)
    else:
        await rule_rows.put_rule(tx, scope, _terms(value), by_owner=by_owner, set_by=set_by, now=now)


QUOTA_RULE = Undoable("policy", _get_rule, _put_rule)
"""Subject: the scope's parts and ``by_owner``. Value: ``{"terms": {...}}``."""


def rule_subject(scope: Scope, *, by_owner: bool) -> Subject:
    """Return the subject of a rule's change."""
    return {**{part: getattr(scope, part) for part in _SCOPE_PARTS}, "by_owner": by_owner}


def rule_value(terms: RuleTerms) -> Value:
    """Return the value of a rule's change."""
    return {"terms": dump_terms(terms)}


async def change_rule(
    tx: Tx, scope: Scope, terms: RuleTerms | None, *, by_owner: bool, by: str, now: float, action: str
) -> RuleTerms | None:
    """Set or remove a rule and log the change; returns the previous terms. Permissions are not checked here.

    Args:
        tx: A writing transaction.
        scope: Whom the rule is for.
        terms: The new terms; None removes the rule.
        by_owner: An owner's rule, whose change only owners may read and undo; or one of the place's own.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.
        action: The command's name in the audit log.
    """
    subject = rule_subject(scope, by_owner=by_owner)
    value = None if terms is None else rule_value(terms)
    before = await QUOTA_RULE.get(tx, subject)
    if before != value:
        where = None
        if not by_owner and scope.platform is not None:
            where = Place(scope.platform, scope.place, "")
        await changes.apply_change(tx, Change(QUOTA_RULE, action, subject, value, where), by=by, now=now)
    return None if before is None else _terms(before)


async def check_owner_ceiling(tx: Tx, ctx: AppContext, scope: Scope, terms: RuleTerms) -> None:
    """Raise OverQuota, with what the owner allows, if a place's own rule allows more."""
    assert scope.platform is not None
    roles = () if scope.role is None else (scope.role,)
    actor = Actor(scope.platform, scope.person or "", roles=roles)
    person = None if scope.person is None else await people.find(tx, scope.platform, scope.person)
    place = Place(scope.platform, scope.place, scope.channel or "")
    ceiling = await load_rules(tx, ctx, actor, place, None if person is None else person.id)
    rule_resolution.check_ceiling(terms, scope, ceiling)


async def place_rules(tx: Tx, place: Place) -> tuple[QuotaRule, ...]:
    """Return a place's own rules."""
    rules = await rule_rows.rules_of_place(tx, place.platform, place.guild)
    return tuple(rule for rule in rules if not rule.by_owner and rule.scope.place is not None)


def _scope(subject: Subject) -> Scope:
    parts = {part: subject.get(part) for part in _SCOPE_PARTS}
    return Scope(**{part: None if value is None else str(value) for part, value in parts.items()})


def _terms(value: Mapping[str, object]) -> RuleTerms:
    terms = value["terms"]
    assert isinstance(terms, Mapping)
    return load_terms(terms)


async def _get_grant(tx: Tx, subject: Subject) -> Value:
    grant = await credit_rows.grant_of_event(tx, str(subject["event"]))
    return None if grant is None else _grant_value(grant)


async def _put_grant(tx: Tx, subject: Subject, value: Value, set_by: str, now: float) -> None:
    event = str(subject["event"])
    if value is None:
        await credit_rows.revoke_grant(tx, event, now=now)
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
    await credit_rows.add_grant(tx, event, grant, given_by=set_by, now=now)


CREDIT = Undoable("credit", _get_grant, _put_grant)
"""Subject: the ``event`` of the grant. Value: the Grant's fields; None revokes the grant."""


async def grant_credits(tx: Tx, event: str, grant: Grant, place: Place | None, *, by: str, now: float) -> Grant:
    """Grant or lend credits, once for each event, and log the change. Permissions are not checked here.

    Args:
        tx: A writing transaction.
        event: The platform's id of the event.
        grant: The grant.
        place: The place whose admins may read and undo the change; None: owners alone.
        by: ``platform:user id``, or ``operator``.
        now: Unix seconds.

    Returns:
        The grant of the event; the existing one if the event came before.
    """
    existing = await credit_rows.grant_of_event(tx, event)
    if existing is not None:
        return existing
    if not await credit_rows.was_granted(tx, event):
        action = "quota grant" if grant.kind is CreditKind.BONUS else "quota lend"
        change = Change(CREDIT, action, {"event": event}, _grant_value(grant), place)
        await changes.apply_change(tx, change, by=by, now=now)
    return grant


def _grant_value(grant: Grant) -> Value:
    return {
        "person_id": grant.person_id,
        "place_id": grant.place_id,
        "kind": grant.kind.value,
        "pictures": grant.pictures,
        "by_owner": grant.by_owner,
        "expires_at": grant.expires_at,
    }
