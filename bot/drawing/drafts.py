"""Prompts that the engine writes, longer ones or what pictures show: saved, shown, then drawn, changed or dropped.

The row is the truth: it is written before the engine is asked, so that neither its end nor that of this process loses it.
``bot/drawing/draft_writer.py`` has them written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import Button, ButtonPress, Card, Tone
from bot.core.errors import BadInput, NotFound, OverQuota
from bot.core.forms import FieldKind, Form, FormField
from bot.core.jobs import Job
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import MAX_PICTURE_BYTES, DrawForm, DrawRequest, PictureSource
from bot.drawing import admission, flags, request_form, store
from bot.drawing.job_actions import get_job, line_of
from bot.drawing.picture_requests import SavedRequest, announce
from bot.drawing.request_rules import MAX_TYPED
from bot.drawing.store import DraftState, NewPromptDraft, PromptDraft
from bot.storage import messages, people
from bot.storage.database import Tx
from bot.storage.sql import dump_card

DRAW, EDIT, STOP = "drawtext", "edittext", "stoptext"
"""Actions of the buttons below a prompt; their number is the draft's."""

_NO_WORDS = "?"

MAX_WAITING = 2
"""Most prompts of one person that wait to be written."""

MOST, MOST_SECONDS = 10, 600.0
"""Most prompts that one person may ask for, and the seconds in which they count. They cost no pictures of the quota."""


async def draw(ctx: AppContext, actor: Actor, place: Place, form: DrawForm, ref: EventRef) -> Job | SavedRequest:
    """Admit a request as typed, or with ``--expand`` save it until its longer prompt is written. Raises Refusal."""
    # A text that is too long is not parsed; admission refuses it.
    parsed = flags.parse(form) if len(form.prompt) <= MAX_TYPED else form
    if not parsed.expand:
        return await admission.draw(ctx, actor, place, form, ref)
    if form.image is not None or form.references or form.sources:
        raise BadInput("refusal.expand.alone")
    parsed = replace(parsed, expand=None)
    async with admission.checked_form(ctx, actor, place, parsed) as (request, _):
        return await _save(ctx, actor, place, parsed, ref, request=request)


async def enrich(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef) -> SavedRequest:
    """Have a richer prompt written for the pressed job. The same job gives the same prompt again. Raises Refusal."""
    job = await get_job(ctx, press.job_id)
    if not job.request.typed:
        raise NotFound("refusal.prompt.gone")
    return await _save(ctx, actor, place, DrawForm(job.request.typed), ref, request=job.request, job_id=job.id)


async def describe(
    ctx: AppContext, actor: Actor, place: Place, pictures: Sequence[PictureSource], ref: EventRef
) -> SavedRequest:
    """Have the first of the pictures described; the text can be drawn. Raises Refusal."""
    if not ctx.can_describe:
        raise BadInput("refusal.describe.none")
    if not pictures:
        raise BadInput("refusal.describe.pictures")
    if pictures[0].bytes > MAX_PICTURE_BYTES:
        raise BadInput("refusal.pictures.too_large", number=1, limit=MAX_PICTURE_BYTES // 2**20)
    form = DrawForm("", sources=(pictures[0],))
    # Words stand in for those that are not written yet, so that bans, pauses and the like are asked for.
    async with admission.checked_form(ctx, actor, place, DrawForm(_NO_WORDS)) as (request, _):
        return await _store(ctx, actor, place, form, ref, request=request)


async def _save(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    form: DrawForm,
    ref: EventRef,
    *,
    request: DrawRequest,
    job_id: int | None = None,
) -> SavedRequest:
    """Store a prompt to make longer. What admission would refuse is refused here."""
    profile = ctx.profile(request.model)
    if profile is None or not profile.expands:
        raise BadInput("refusal.expand.none", model=request.model if profile is None else profile.title)
    return await _store(ctx, actor, place, form, ref, request=request, job_id=job_id)


async def _store(
    ctx: AppContext,
    actor: Actor,
    place: Place,
    form: DrawForm,
    ref: EventRef,
    *,
    request: DrawRequest,
    job_id: int | None = None,
) -> SavedRequest:
    """Store a prompt to write, with the card that says so. Raises Refusal."""
    if ref.address is None:
        raise BadInput("refusal.expand.chats")
    if request.private:
        # It may be so by a setting alone. The cards that come later know the form, not the request.
        form = replace(form, private=True)
    private = ref.address.private or bool(form.private)
    now = ctx.clock.now()
    async with admission.recorded_refusals(ctx, actor, place, ref, request), ctx.db.write() as tx:
        known = await store.prompt_by_event(tx, ref.event)
        if known is not None:
            card = _waiting_card(actor, form, known.id, private=private)
        else:
            person = await admission.check(tx, ctx, actor, place, request)
            await _check_rate(tx, person.id, now=now)
            new = NewPromptDraft(
                event=ref.event,
                account_id=person.account_id,
                actor=actor,
                place=place,
                address=ref.address,
                form=form,
                job_id=job_id,
                model=request.model,
                seed=request.seed,
                created_at=now,
            )
            card = _waiting_card(actor, form, await store.add_prompt(tx, new), private=private)
            await announce(tx, ref, card)
    ctx.backlog.messages_added()
    return SavedRequest(card)


async def _check_rate(tx: Tx, person_id: int, *, now: float) -> None:
    """Raise OverQuota if a person has too many prompts written."""
    if await store.waiting_prompts(tx, person_id) >= MAX_WAITING:
        raise OverQuota("refusal.expand.waiting", n=MAX_WAITING)
    asked = await store.prompts_since(tx, person_id, now - MOST_SECONDS)
    if len(asked) >= MOST:
        raise OverQuota("refusal.expand.often", n=MOST, wait=max(1.0, asked[-MOST] + MOST_SECONDS - now))


def _waiting_card(actor: Actor, form: DrawForm, draft_id: int, *, private: bool) -> Card:
    """Return the card of a prompt that is not written yet."""
    cancel = Button(text(actor.locale, f"button.{STOP}"), ButtonPress(STOP, draft_id), danger=True)
    return Card(
        Tone.WAITING,
        text(actor.locale, "card.describing" if form.sources else "card.expanding"),
        prompt=form.prompt,
        asker=actor.name,
        buttons=((cancel,),),
        private=private,
        provisional=True,
        locale=actor.locale,
    )


def written_card(draft: PromptDraft, written: str) -> Card:
    """Return the card that shows a prompt before it is drawn."""
    locale = draft.actor.locale
    row = tuple(
        Button(text(locale, f"button.{action}"), ButtonPress(action, draft.id), danger=action == STOP)
        for action in (DRAW, EDIT, STOP)
    )
    return Card(
        Tone.INFO,
        text(locale, "card.described" if draft.form.sources else "card.expanded"),
        prompt=written,
        asker=draft.actor.name,
        buttons=(row,),
        private=draft.address.private or bool(draft.form.private),
        final=True,
        locale=locale,
    )


def refused_card(draft: PromptDraft, card: Card) -> Card:
    """Return a refusal's card as private as the draft's own."""
    return replace(card, private=draft.address.private or bool(draft.form.private))


async def draw_draft(
    ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef, *, prompt: str | None = None
) -> Job | None:
    """Draw a written prompt, or what its person has made of it.

    Returns None for a second press within DOUBLE_PRESS_SECONDS. Raises Refusal.
    """
    draft = await _own_draft(ctx, actor, press)
    pause = admission.DOUBLE_PRESS_SECONDS
    async with ctx.db.write() as tx:
        if not await store.draw_prompt(tx, draft.id, now=ctx.clock.now(), pause=pause):
            return None
    words = draft.text if prompt is None else prompt
    if draft.job_id is not None:
        at, values = ButtonPress(press.action, draft.job_id), {"prompt": words}
        return await request_form.draw_form(ctx, actor, place, at, ref, values=values)
    return await admission.draw(ctx, actor, place, replace(draft.form, prompt=words, sources=()), ref)


async def open_form(ctx: AppContext, actor: Actor, place: Place, press: ButtonPress) -> Form:
    """Return the form in which a written prompt is changed. Raises NotFound."""
    draft = await _own_draft(ctx, actor, press)
    request = await request_of(ctx, draft, draft.text, place)
    limit = (ctx.profile(request.model) or ctx.profiles()[0]).prompt_chars
    size = max(limit, len(draft.text))
    return Form(
        text(actor.locale, "form.expanded"),
        press,
        (
            FormField(
                "prompt", text(actor.locale, "form.prompt"), draft.text, FieldKind.LONG, required=True, max_length=size
            ),
        ),
        line=f"/draw {line_of(ctx, request)}",
    )


async def stop(ctx: AppContext, actor: Actor, press: ButtonPress) -> None:
    """Drop a prompt, also while it is written; its card says so. Raises NotFound."""
    draft = await _own_draft(ctx, actor, press, waiting=True)
    locale = draft.actor.locale
    card = Card(
        Tone.STOPPED,
        text(locale, "card.expanded.stopped"),
        asker=draft.actor.name,
        private=draft.address.private or bool(draft.form.private),
        final=True,
        locale=locale,
    )
    async with ctx.db.write() as tx:
        if await store.end_prompt(tx, draft.id):
            await messages.replace_notice(tx, draft.event, dump_card(card))
    ctx.backlog.messages_added()


async def request_of(ctx: AppContext, draft: PromptDraft, words: str, place: Place) -> DrawRequest:
    """Return the request of a draft with these words. Raises BadInput, or NotFound where its job is gone."""
    if draft.job_id is not None:
        request = (await get_job(ctx, draft.job_id)).request
        if not request.typed:
            raise NotFound("refusal.prompt.gone")
        return replace(request, prompt=words, typed=words)
    form = replace(draft.form, prompt=words, sources=())
    async with admission.checked_form(ctx, draft.actor, place, form) as (request, _):
        return replace(request, seed=draft.seed)


async def _own_draft(ctx: AppContext, actor: Actor, press: ButtonPress, *, waiting: bool = False) -> PromptDraft:
    """Return a written draft of the actor, or also one that is waiting. Raises NotFound if it is gone or another's."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        draft = await store.get_prompt(tx, press.job_id)
    if draft is None or person is None or draft.account_id != person.account_id:
        raise NotFound("refusal.expand.gone")
    if draft.state is DraftState.ENDED or (draft.state is DraftState.WAITING and not waiting):
        raise NotFound("refusal.expand.gone")
    return draft
