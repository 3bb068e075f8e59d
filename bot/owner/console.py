"""The owner's console: every use case of the owner's pages, for owners alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bot.access.newcomers import AnswerResult
from bot.admin import service as admin
from bot.cards import i18n
from bot.context import AppContext
from bot.core.access import AccessDecision
from bot.core.errors import NotAllowed
from bot.core.jobs import ServiceState
from bot.core.people import Account, Actor
from bot.core.pictures import PictureFile
from bot.core.quotas import CreditKind, RuleTerms, Scope
from bot.core.strictness import Strictness
from bot.core.waits import shield
from bot.owner import activity, people, queue, quotas, records
from bot.owner.activity import Charts
from bot.owner.machine import DeviceView, DiskView, MachineView, ModelsView, Overview
from bot.owner.people import PersonView, WaitingNewcomers
from bot.owner.ports import NoLibrary, NoMachine, Setting, Surroundings
from bot.owner.queue import QueueEnd, QueueView
from bot.owner.quotas import RulesView, Why
from bot.owner.records import ChangeLine, ReportLine
from bot.owner.store import FoundPerson
from bot.quotas.service import GivenCredits
from engine.contract import Engine

STATE_ACTION = "owner service"
"""Name in the audit log of a change of the service's state: that of the command."""


class OwnerConsole:
    """What an owner can see and change of the whole service. Every call raises NotAllowed for anybody else.

    A call that changes something is completed even if its caller is cancelled. Changes are in the audit log.
    """

    def __init__(
        self,
        ctx: AppContext,
        engine: Engine,
        problems: Callable[[], Awaitable[Sequence[str]]],
        surroundings: Surroundings | None = None,
    ) -> None:
        """Args:
        ctx: The use cases' context.
        engine: The engine.
        problems: Returns why the service is not ready, in English sentences.
        surroundings: What the composition root knows; nothing by default.
        """
        self._ctx = ctx
        self._problems = problems
        self._around = surroundings or Surroundings(NoLibrary(), NoMachine())
        self._machine = MachineView(engine, self._around)

    def _for(self, actor: Actor) -> AppContext:
        if not actor.is_owner:
            raise NotAllowed("refusal.rights.owner")
        return self._ctx

    def texts(self, actor: Actor) -> dict[str, str]:
        """Return the texts of the owner's pages in the actor's language."""
        self._for(actor)
        return i18n.texts(actor.locale, "owner.")

    async def queue(self, actor: Actor) -> QueueView:
        """See ``bot.owner.queue.view``."""
        return await queue.view(self._for(actor))

    async def cancel(self, actor: Actor, job_ids: Sequence[int]) -> int:
        """See ``bot.owner.queue.cancel``."""
        return await shield(queue.cancel(self._for(actor), actor, job_ids))

    async def move(self, actor: Actor, job_id: int, to: QueueEnd) -> None:
        """See ``bot.owner.queue.move``."""
        await shield(queue.move(self._for(actor), actor, job_id, to))

    async def set_state(self, actor: Actor, state: ServiceState) -> None:
        """Run, drain or pause the whole service; see ServiceState."""
        ctx = self._for(actor)
        await shield(admin.set_state(ctx, actor, state, people.everywhere(actor), action=STATE_ACTION))

    async def people(self, actor: Actor, text: str, *, banned: bool = False) -> tuple[FoundPerson, ...]:
        """See ``bot.owner.people.search``."""
        return await people.search(self._for(actor), text, banned=banned)

    async def person(self, actor: Actor, person_id: int) -> PersonView:
        """See ``bot.owner.people.person``."""
        return await people.person(self._for(actor), person_id)

    async def ban(self, actor: Actor, account: Account, *, guild: str | None, span: str, reason: str) -> int:
        """See ``bot.owner.people.ban``."""
        return await shield(people.ban(self._for(actor), actor, account, guild=guild, span=span, reason=reason))

    async def unban(self, actor: Actor, account: Account, *, guild: str | None) -> None:
        """See ``bot.owner.people.unban``."""
        await shield(people.unban(self._for(actor), actor, account, guild=guild))

    async def give_credits(
        self, actor: Actor, account: Account, *, event: str, number: str, span: str, kind: CreditKind
    ) -> GivenCredits:
        """See ``bot.owner.people.give_credits``."""
        ctx = self._for(actor)
        return await shield(people.give_credits(ctx, actor, account, event=event, number=number, span=span, kind=kind))

    async def newcomers(self, actor: Actor) -> WaitingNewcomers:
        """See ``bot.owner.people.waiting_newcomers``."""
        return await people.waiting_newcomers(self._for(actor))

    async def answer(self, actor: Actor, number: int, verdict: AccessDecision, rule: str | None = None) -> AnswerResult:
        """See ``bot.owner.people.answer``."""
        return await shield(people.answer(self._for(actor), actor, number, verdict, rule))

    async def quotas(self, actor: Actor) -> RulesView:
        """See ``bot.owner.quotas.view``."""
        return await quotas.view(self._for(actor), actor.locale)

    async def set_rule(self, actor: Actor, rule: str, scope: Scope) -> RuleTerms:
        """See ``bot.owner.quotas.set_rule``."""
        return await shield(quotas.set_rule(self._for(actor), actor, rule, scope))

    async def remove_rule(self, actor: Actor, scope: Scope, *, by_owner: bool) -> RuleTerms:
        """See ``bot.owner.quotas.remove_rule``."""
        return await shield(quotas.remove_rule(self._for(actor), actor, scope, by_owner=by_owner))

    async def why(self, actor: Actor, platform: str, user_id: str, guild: str | None) -> Why:
        """See ``bot.owner.quotas.why``."""
        return await quotas.why(self._for(actor), platform, user_id, guild, actor.locale)

    async def reports(self, actor: Actor) -> tuple[ReportLine, ...]:
        """See ``bot.owner.records.list_reports``."""
        return await records.list_reports(self._for(actor))

    async def answer_report(self, actor: Actor, number: int, *, hide: bool) -> None:
        """See ``bot.owner.records.answer_report``."""
        await shield(records.answer_report(self._for(actor), actor, number, hide=hide))

    async def reported_picture(self, actor: Actor, number: int, index: int) -> PictureFile:
        """See ``bot.owner.records.reported_picture``."""
        return await records.reported_picture(self._for(actor), number, index)

    async def strictness(self, actor: Actor) -> Strictness | None:
        """See ``bot.owner.records.get_strictness``."""
        return await records.get_strictness(self._for(actor))

    async def set_strictness(self, actor: Actor, level: Strictness | None) -> None:
        """See ``bot.owner.records.set_strictness``."""
        await shield(records.set_strictness(self._for(actor), actor, level))

    async def changes(self, actor: Actor, *, limit: int, before: int | None = None) -> tuple[ChangeLine, ...]:
        """See ``bot.owner.records.list_changes``."""
        return await records.list_changes(self._for(actor), actor, actor.locale, limit=limit, before=before)

    async def undo(self, actor: Actor, number: int) -> ChangeLine:
        """See ``bot.owner.records.undo``."""
        return await shield(records.undo(self._for(actor), actor, number, actor.locale))

    async def overview(self, actor: Actor) -> Overview:
        """See ``MachineView.overview``."""
        return await self._machine.overview(self._for(actor), await self._problems())

    async def models(self, actor: Actor) -> ModelsView:
        """See ``MachineView.models``."""
        return await self._machine.models(self._for(actor), actor.locale)

    async def pull(self, actor: Actor, name: str) -> None:
        """See ``ModelLibrary.pull``."""
        ctx = self._for(actor)
        await shield(self._machine.pull(name))
        await shield(records.note(ctx, actor, "model pull", name))

    async def stop_pull(self, actor: Actor) -> None:
        """See ``ModelLibrary.stop_pull``."""
        self._for(actor)
        await shield(self._machine.stop_pull())

    async def remove_model(self, actor: Actor, name: str) -> int:
        """See ``MachineView.remove_model``."""
        ctx = self._for(actor)
        freed = await shield(self._machine.remove_model(ctx, name))
        await shield(records.note(ctx, actor, "model remove", name))
        return freed

    async def disk(self, actor: Actor) -> DiskView:
        """See ``MachineView.disk``."""
        return await self._machine.disk(self._for(actor))

    async def keep(self, actor: Actor, span: str) -> None:
        """See ``MachineView.keep``."""
        await shield(self._machine.keep(self._for(actor), actor, span))

    async def device(self, actor: Actor) -> DeviceView:
        """See ``MachineView.device``."""
        return await self._machine.device(self._for(actor))

    async def charts(self, actor: Actor) -> Charts:
        """See ``bot.owner.activity.charts``."""
        ctx = self._for(actor)
        return await activity.charts(ctx.db, now=ctx.clock.now())

    def settings(self, actor: Actor) -> Sequence[Setting]:
        """Return the settings, as they were read at the start; never a secret."""
        self._for(actor)
        return self._around.settings
