"""Handlers of the owner's pages: ``/owner`` and ``/api/owner/...``, for owners alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from adapters.web.api import MAX_ID
from adapters.web.identity import actor_of
from adapters.web.request_checks import Body, BodyReader, Key
from adapters.web.routes import Role, Route
from adapters.web.static_files import StaticFiles
from bot.core.access import FEW, AccessDecision
from bot.core.errors import BadInput, NotFound
from bot.core.jobs import ServiceState
from bot.core.people import Account
from bot.core.quotas import CreditKind, Scope
from bot.core.strictness import Strictness
from bot.owner.queue import MOST_CANCELLED, QueueEnd
from bot.studio import Studio

MOST_CHANGES = 50
"""Most changes on one page of the audit log."""

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Part = Annotated[str, Field(max_length=200)]


class CancelBody(Body):
    """Jobs to cancel."""

    jobs: Annotated[list[Id], Field(min_length=1, max_length=MOST_CANCELLED)]


class MoveBody(Body):
    """A waiting job and the end of the queue that it goes to."""

    job: Id
    to: Literal["front", "back"]


class StateBody(Body):
    """What the service does from now on."""

    state: Literal["run", "drain", "pause"]


class AccountBody(Body):
    """An account on a platform."""

    platform: Name
    user_id: Name

    @property
    def account(self) -> Account:
        """The account; its name is not known here."""
        return Account(self.platform, self.user_id, "")


class UnbanBody(AccountBody):
    """A ban to lift: of a server or group, or everywhere where no guild is named."""

    guild: Part | None = None


class BanBody(UnbanBody):
    """A ban; without a span it is for good."""

    span: Part = ""
    reason: Part = ""


class CreditsBody(AccountBody):
    """Pictures to give or to lend; ``key`` makes it once."""

    key: Key
    number: Part
    span: Part = ""
    kind: Literal["bonus", "borrowed"] = "bonus"


class AnswerBody(Body):
    """An answer to a newcomer: ``few`` allows a few pictures a day."""

    number: Id
    answer: Literal["allow", "few", "refuse"]


class ScopeBody(Body):
    """Whom a rule is for; what is missing or empty means any."""

    platform: Part = ""
    place: Part = ""
    channel: Part = ""
    role: Part = ""
    person: Part = ""

    @property
    def scope(self) -> Scope:
        """The scope."""
        return Scope(
            self.platform or None,
            self.place or None,
            role=self.role or None,
            person=self.person or None,
            channel=self.channel or None,
        )


class RuleBody(ScopeBody):
    """A rule to set, as it is typed."""

    rule: Annotated[str, Field(min_length=1, max_length=500)]


class RemoveRuleBody(ScopeBody):
    """A rule to remove: an owner's, or a place's own."""

    by_owner: bool = True


class ReportBody(Body):
    """An answer to a report."""

    number: Id
    hide: bool


class StrictnessBody(Body):
    """What happens to words for adults; empty: the usual."""

    level: Literal["", "off", "warn", "refuse", "spoiler"]


class NumberBody(Body):
    """A number of a list."""

    number: Id


class ModelBody(Body):
    """A model, a hub id or a file on a hub."""

    name: Name


class KeepBody(Body):
    """For how long pictures are kept, as it is typed."""

    span: Name


class EmptyBody(Body):
    """Nothing."""


class OwnerHandlers:
    """Handlers that call the owner's console. Errors are raised as Refusals."""

    def __init__(self, studio: Studio, bodies: BodyReader) -> None:
        self._studio = studio
        self._owner = studio.owner
        self._bodies = bodies
        self._files = StaticFiles()

    def routes(self) -> list[Route]:
        """Return the routes; each is the owner's."""
        gets = {
            "/owner": self.page,
            "/api/owner/info": self.info,
            "/api/owner/queue": self.queue,
            "/api/owner/people": self.people,
            "/api/owner/people/{person}": self.person,
            "/api/owner/quotas": self.quotas,
            "/api/owner/quotas/why": self.why,
            "/api/owner/newcomers": self.newcomers,
            "/api/owner/reports": self.reports,
            "/api/owner/reports/{number}/{index}.png": self.reported,
            "/api/owner/audit": self.audit,
            "/api/owner/overview": self.overview,
            "/api/owner/models": self.models,
            "/api/owner/disk": self.disk,
            "/api/owner/device": self.device,
            "/api/owner/charts": self.charts,
            "/api/owner/settings": self.settings,
        }
        posts = {
            "/api/owner/queue/cancel": self.cancel,
            "/api/owner/queue/move": self.move,
            "/api/owner/queue/state": self.set_state,
            "/api/owner/people/ban": self.ban,
            "/api/owner/people/unban": self.unban,
            "/api/owner/people/credits": self.give_credits,
            "/api/owner/quotas/set": self.set_rule,
            "/api/owner/quotas/remove": self.remove_rule,
            "/api/owner/newcomers/answer": self.answer,
            "/api/owner/reports/answer": self.answer_report,
            "/api/owner/reports/strictness": self.set_strictness,
            "/api/owner/audit/undo": self.undo,
            "/api/owner/models/pull": self.pull,
            "/api/owner/models/stop": self.stop_pull,
            "/api/owner/models/remove": self.remove_model,
            "/api/owner/disk/keep": self.keep,
        }
        return [
            *(Route("GET", path, handler, Role.OWNER) for path, handler in gets.items()),
            *(Route("POST", path, handler, Role.OWNER) for path, handler in posts.items()),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Return the page."""
        return self._files.answer(request, "owner.html")

    async def info(self, request: web.Request) -> web.Response:
        """Return the texts of the pages in the actor's language."""
        actor = actor_of(request)
        return _json({"lang": actor.locale.replace("_", "-"), "texts": self._owner.texts(actor)})

    async def queue(self, request: web.Request) -> web.Response:
        """Return what is drawn and what waits."""
        return _json(await self._owner.queue(actor_of(request)))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel jobs of anybody."""
        body = await self._bodies.json(request, CancelBody)
        return _json({"cancelled": await self._owner.cancel(actor_of(request), body.jobs)})

    async def move(self, request: web.Request) -> web.Response:
        """Move a waiting job to the front or to the back."""
        body = await self._bodies.json(request, MoveBody)
        await self._owner.move(actor_of(request), body.job, QueueEnd(body.to))
        return _json({})

    async def set_state(self, request: web.Request) -> web.Response:
        """Run, drain or pause the service."""
        body = await self._bodies.json(request, StateBody)
        await self._owner.set_state(actor_of(request), ServiceState(body.state))
        return _json({})

    async def people(self, request: web.Request) -> web.Response:
        """Return the accounts that ``q`` finds; with ``banned=1`` only those with a ban."""
        banned = request.query.get("banned") == "1"
        return _json({"people": await self._owner.people(actor_of(request), request.query.get("q", ""), banned=banned)})

    async def person(self, request: web.Request) -> web.Response:
        """Return a person with their accounts and bans."""
        return _json(await self._owner.person(actor_of(request), _number(request.match_info["person"])))

    async def ban(self, request: web.Request) -> web.Response:
        """Ban an account's person."""
        body = await self._bodies.json(request, BanBody)
        cancelled = await self._owner.ban(
            actor_of(request), body.account, guild=body.guild or None, span=body.span, reason=body.reason
        )
        return _json({"cancelled": cancelled})

    async def unban(self, request: web.Request) -> web.Response:
        """Lift a ban."""
        body = await self._bodies.json(request, UnbanBody)
        await self._owner.unban(actor_of(request), body.account, guild=body.guild or None)
        return _json({})

    async def give_credits(self, request: web.Request) -> web.Response:
        """Give or lend pictures."""
        body = await self._bodies.json(request, CreditsBody)
        given = await self._owner.give_credits(
            actor_of(request),
            body.account,
            event=f"owner:{body.key}",
            number=body.number,
            span=body.span,
            kind=CreditKind(body.kind),
        )
        return _json({"pictures": given.grant.pictures, "until": given.grant.expires_at})

    async def newcomers(self, request: web.Request) -> web.Response:
        """Return the newcomers that wait for an answer."""
        return _json(await self._owner.newcomers(actor_of(request)))

    async def answer(self, request: web.Request) -> web.Response:
        """Allow or refuse a newcomer."""
        body = await self._bodies.json(request, AnswerBody)
        verdict = AccessDecision.REFUSED if body.answer == "refuse" else AccessDecision.ALLOWED
        rule = FEW if body.answer == "few" else None
        given = await self._owner.answer(actor_of(request), body.number, verdict, rule)
        return _json({"queued": len(given.moved.queued), "ended": len(given.moved.ended)})

    async def quotas(self, request: web.Request) -> web.Response:
        """Return every rule."""
        return _json(await self._owner.quotas(actor_of(request)))

    async def set_rule(self, request: web.Request) -> web.Response:
        """Set an owner's rule."""
        body = await self._bodies.json(request, RuleBody)
        await self._owner.set_rule(actor_of(request), body.rule, body.scope)
        return _json({})

    async def remove_rule(self, request: web.Request) -> web.Response:
        """Remove a rule."""
        body = await self._bodies.json(request, RemoveRuleBody)
        await self._owner.remove_rule(actor_of(request), body.scope, by_owner=body.by_owner)
        return _json({})

    async def why(self, request: web.Request) -> web.Response:
        """Return what binds a person: ``platform`` and ``user_id``, in a ``guild`` where one is named."""
        given = {name: request.query.get(name, "").strip() for name in ("platform", "user_id", "guild")}
        if not given["platform"] or not given["user_id"] or max(map(len, given.values())) > MOST_CHARS:
            raise BadInput("refusal.web.body", problem="platform, user_id")
        return _json(
            await self._owner.why(actor_of(request), given["platform"], given["user_id"], given["guild"] or None)
        )

    async def reports(self, request: web.Request) -> web.Response:
        """Return the last reports, and the strictness for all places."""
        actor = actor_of(request)
        return _json({"reports": await self._owner.reports(actor), "strictness": await self._owner.strictness(actor)})

    async def set_strictness(self, request: web.Request) -> web.Response:
        """Set what happens to words for adults in places that have set nothing."""
        body = await self._bodies.json(request, StrictnessBody)
        await self._owner.set_strictness(actor_of(request), Strictness(body.level) if body.level else None)
        return _json({})

    async def answer_report(self, request: web.Request) -> web.Response:
        """Hide the pictures of a report, or dismiss it."""
        body = await self._bodies.json(request, ReportBody)
        await self._owner.answer_report(actor_of(request), body.number, hide=body.hide)
        return _json({})

    async def reported(self, request: web.Request) -> web.StreamResponse:
        """Return a reported picture's file."""
        number, index = (_number(request.match_info[name], least=0) for name in ("number", "index"))
        file = await self._owner.reported_picture(actor_of(request), number, index)
        return web.FileResponse(file.path, headers={"Content-Type": file.mime, "Cache-Control": "private, no-store"})

    async def audit(self, request: web.Request) -> web.Response:
        """Return the last changes; ``before`` pages."""
        before = request.query.get("before")
        lines = await self._owner.changes(
            actor_of(request), limit=MOST_CHANGES + 1, before=None if before is None else _number(before)
        )
        return _json({"changes": lines[:MOST_CHANGES], "older": len(lines) > MOST_CHANGES})

    async def undo(self, request: web.Request) -> web.Response:
        """Undo a change."""
        body = await self._bodies.json(request, NumberBody)
        return _json({"undone": await self._owner.undo(actor_of(request), body.number)})

    async def overview(self, request: web.Request) -> web.Response:
        """Return how the service stands."""
        return _json(await self._owner.overview(actor_of(request)))

    async def models(self, request: web.Request) -> web.Response:
        """Return the models and LoRAs, with a download that is under way."""
        return _json(await self._owner.models(actor_of(request)))

    async def pull(self, request: web.Request) -> web.Response:
        """Begin to download a model."""
        body = await self._bodies.json(request, ModelBody)
        await self._owner.pull(actor_of(request), body.name)
        return _json({})

    async def stop_pull(self, request: web.Request) -> web.Response:
        """Stop the download."""
        await self._bodies.json(request, EmptyBody)
        await self._owner.stop_pull(actor_of(request))
        return _json({})

    async def remove_model(self, request: web.Request) -> web.Response:
        """Remove a model's files."""
        body = await self._bodies.json(request, ModelBody)
        return _json({"freed": await self._owner.remove_model(actor_of(request), body.name)})

    async def disk(self, request: web.Request) -> web.Response:
        """Return what takes room on the disk."""
        return _json(await self._owner.disk(actor_of(request)))

    async def keep(self, request: web.Request) -> web.Response:
        """Set for how long pictures are kept."""
        body = await self._bodies.json(request, KeepBody)
        await self._owner.keep(actor_of(request), body.span)
        return _json({})

    async def device(self, request: web.Request) -> web.Response:
        """Return the device, the machine, and how fast models draw."""
        return _json(await self._owner.device(actor_of(request)))

    async def charts(self, request: web.Request) -> web.Response:
        """Return the last day in quarters of an hour."""
        return _json(await self._owner.charts(actor_of(request)))

    async def settings(self, request: web.Request) -> web.Response:
        """Return the settings; never a secret."""
        return _json({"settings": self._owner.settings(actor_of(request))})


MOST_CHARS = 200
"""Longest value of a query, in characters."""


def _number(text: str, *, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < len(str(MAX_ID)) and int(text) >= least):
        raise NotFound("refusal.web.not_found")
    return int(text)


def _json(value: object) -> web.Response:
    return web.json_response(plain(value))


def plain(value: object) -> Any:
    """Return dataclasses as objects of their fields, enumerations as their values, and sequences as lists."""
    match value:
        case Enum():
            return value.value
        case str() | None | bool() | int() | float():
            return value
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case Sequence() | frozenset():
            return [plain(each) for each in value]
        case _ if is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")
