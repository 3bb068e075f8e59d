"""The form for the words beside pictures of a message: to start from one of them, or to edit them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bot.cards.i18n import text
from bot.context import AppContext
from bot.core.cards import ButtonPress
from bot.core.errors import BadInput, NotFound
from bot.core.forms import FieldKind, Form, FormChoice, FormField
from bot.core.jobs import Job
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import STRENGTH, DrawForm, PictureSource, PictureUse
from bot.drawing import picture_requests, store
from bot.drawing.model_rules import MAX_REFERENCES
from bot.drawing.picture_requests import SavedRequest
from bot.storage import people

_ALL = "all"


async def open_form(
    ctx: AppContext, actor: Actor, action: str, use: PictureUse, pictures: Sequence[PictureSource]
) -> Form:
    """Keep the pictures as a draft, and return the form that asks for the words. Raises BadInput without a picture."""
    if not pictures:
        raise BadInput("refusal.pictures.none")
    form = DrawForm("", sources=tuple(pictures[:MAX_REFERENCES]), use=use)
    async with ctx.db.write() as tx:
        person = await people.remember(tx, actor, now=ctx.clock.now())
        draft = await store.add_draft(tx, person.account_id, form, now=ctx.clock.now())
    return Form(
        text(actor.locale, f"form.pictures.{use.value}"),
        ButtonPress(action, draft),
        _fields(ctx, form, use, actor.locale),
    )


def _fields(ctx: AppContext, form: DrawForm, use: PictureUse, locale: str) -> tuple[FormField, ...]:
    limit = ctx.profiles()[0].prompt_chars
    fields = [FormField("prompt", text(locale, "form.prompt"), "", FieldKind.LONG, required=True, max_length=limit)]
    numbers = range(1, len(form.sources) + 1)
    if len(numbers) > 1:
        choices = tuple(FormChoice(str(n), text(locale, "form.pictures.number", number=n)) for n in numbers)
        if use is PictureUse.EDIT:
            choices = (FormChoice(_ALL, text(locale, "form.pictures.all")), *choices)
        label = text(locale, "form.pictures.which")
        fields.append(FormField("picture", label, choices[0].value, FieldKind.CHOICE, required=True, choices=choices))
    if use is PictureUse.START:
        fields.append(FormField("strength", text(locale, "fact.strength"), f"{STRENGTH.default:g}"))
    return tuple(fields)


async def save_form(
    ctx: AppContext, actor: Actor, place: Place, press: ButtonPress, ref: EventRef, *, values: Mapping[str, str]
) -> Job | SavedRequest:
    """Save the request of a form that came back. Raises Refusal; NotFound where its pictures are not known any more."""
    async with ctx.db.read() as tx:
        person = await people.find(tx, actor.platform, actor.user_id)
        draft = None if person is None else await store.get_draft(tx, press.job_id, person.account_id)
    if draft is None:
        raise NotFound("refusal.pictures.draft")
    chosen = values.get("picture", _ALL)
    sources = draft.sources
    if chosen.isdecimal() and 0 < int(chosen) <= len(sources):
        sources = (sources[int(chosen) - 1],)
    strength = values.get("strength") or None if draft.use is PictureUse.START else None
    form = replace(draft, prompt=values.get("prompt", ""), sources=sources, strength=strength)
    return await picture_requests.save(ctx, actor, place, form, ref)
