"""Commands of drawing: draw, the list of LoRAs; on a job reroll, vary, upscale, edit, the menu and what it has, again, cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace

from bot.cards import job_card
from bot.cards.i18n import text
from bot.cards.job_buttons import BACK, CHOOSE, MORE, JobButton, Stage
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission, PickedOn
from bot.commands.parser import job_number
from bot.context import AppContext
from bot.core import requests
from bot.core.cards import Button, ButtonPress, Card, Fact, Tone
from bot.core.errors import BadInput, NotFound
from bot.core.jobs import Job
from bot.core.pictures import Picture
from bot.core.requests import DrawForm, PictureUse
from bot.core.texts import shown
from bot.drawing import admission, drafts, job_actions, job_menu, overview, picture_form, picture_requests, request_form
from bot.drawing.admission import RepeatedPress
from bot.drawing.defaults import rights_of
from bot.drawing.flags import missing_from_line
from bot.drawing.model_rules import fits, matches
from bot.drawing.options import EDIT_OPTIONS, OPTIONS, PICTURES, form_of
from bot.drawing.picture_requests import SavedRequest
from bot.drawing.suggestions import is_shortened, whole_prompt
from engine.contract import Capability, LoraInfo, Profile

EXAMPLE = "example"
"""The action that draws an example of the greeting; its number is the example's."""


async def _draw(ctx: AppContext, invocation: Invocation) -> CommandResult:
    actor, form = invocation.actor, form_of(invocation.args)
    if is_shortened(form.prompt):
        async with ctx.db.read() as tx:
            form = replace(form, prompt=await whole_prompt(tx, actor, form.prompt))
    if invocation.pictures:
        form = replace(form, sources=tuple(invocation.pictures))
        return _saved(await picture_requests.save(ctx, actor, invocation.place, form, invocation.ref))
    return _saved(await drafts.draw(ctx, actor, invocation.place, form, invocation.ref))


async def _richer(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return _saved(await drafts.enrich(ctx, invocation.actor, invocation.place, invocation.pressed, invocation.ref))


async def _describe(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return _saved(await drafts.describe(ctx, invocation.actor, invocation.place, invocation.pictures, invocation.ref))


def _can_describe(ctx: AppContext) -> bool:
    return ctx.can_describe


async def _draw_text(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return await _drawn_text(ctx, invocation, None)


async def _edit_text(ctx: AppContext, invocation: Invocation) -> CommandResult:
    values = invocation.submitted
    if values is None:
        form = await drafts.open_form(ctx, invocation.actor, invocation.place, invocation.pressed)
        return CommandResult(form=form)
    return await _drawn_text(ctx, invocation, values.get("prompt", ""))


async def _drawn_text(ctx: AppContext, invocation: Invocation, prompt: str | None) -> CommandResult:
    actor, press = invocation.actor, invocation.pressed
    job = await drafts.draw_draft(ctx, actor, invocation.place, press, invocation.ref, prompt=prompt)
    return CommandResult(new=job, notice="" if job else text(actor.locale, "studio.press.repeated"))


async def _stop_text(ctx: AppContext, invocation: Invocation) -> CommandResult:
    await drafts.stop(ctx, invocation.actor, invocation.pressed)
    return CommandResult(notice=text(invocation.actor.locale, "card.expanded.stopped"))


async def _edit_picture(ctx: AppContext, invocation: Invocation) -> CommandResult:
    actor, place, form = invocation.actor, invocation.place, form_of(invocation.args)
    if invocation.pictures:
        form = replace(form, sources=tuple(invocation.pictures))
        return _saved(await picture_requests.save(ctx, actor, place, form, invocation.ref))
    form = replace(form, start=invocation.args.get("start"))
    return CommandResult(new=await job_actions.edit_drawn(ctx, actor, place, form, invocation.ref))


def _saved(saved: Job | SavedRequest) -> CommandResult:
    return CommandResult(card=saved.card) if isinstance(saved, SavedRequest) else CommandResult(new=saved)


def _on_pictures(action: str, use: PictureUse) -> Command:
    async def handler(ctx: AppContext, invocation: Invocation) -> CommandResult:
        actor, values = invocation.actor, invocation.submitted
        if values is None:
            return CommandResult(form=await picture_form.open_form(ctx, actor, action, use, invocation.pictures))
        place, press, ref = invocation.place, invocation.pressed, invocation.ref
        return _saved(await picture_form.save_form(ctx, actor, place, press, ref, values=values))

    return Command(action=action, permission=Permission.ANYBODY, handler=handler, form=True, on_pictures=True)


async def _reroll(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return await _admitted(
        invocation, job_actions.reroll(ctx, invocation.actor, invocation.place, invocation.pressed, invocation.ref)
    )


async def _seed(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return await _admitted(
        invocation,
        job_actions.draw_from_seed(ctx, invocation.actor, invocation.place, invocation.pressed, invocation.ref),
    )


async def _vary(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return await _admitted(
        invocation, job_actions.vary(ctx, invocation.actor, invocation.place, invocation.pressed, invocation.ref)
    )


async def _upscale(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return await _admitted(
        invocation, job_actions.upscale(ctx, invocation.actor, invocation.place, invocation.pressed, invocation.ref)
    )


async def _edit(ctx: AppContext, invocation: Invocation) -> CommandResult:
    actor, press, values = invocation.actor, invocation.pressed, invocation.submitted
    if values is None:
        return CommandResult(form=await request_form.open_form(ctx, press, actor.locale))
    return CommandResult(
        new=await request_form.draw_form(ctx, actor, invocation.place, press, invocation.ref, values=values)
    )


async def _start(ctx: AppContext, invocation: Invocation) -> CommandResult:
    actor, press, values = invocation.actor, invocation.pressed, invocation.submitted
    if values is None:
        return CommandResult(form=await request_form.open_form(ctx, press, actor.locale, starts=True))
    new = await request_form.draw_form(ctx, actor, invocation.place, press, invocation.ref, values=values, starts=True)
    return CommandResult(new=new)


async def _menu(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return CommandResult(menu=await job_menu.open_menu(ctx, invocation.pressed, invocation.actor.locale))


async def _back(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return CommandResult(menu=await job_menu.close_menu(ctx, invocation.pressed))


async def _info(ctx: AppContext, invocation: Invocation) -> Card:
    return await job_menu.picture_info(ctx, invocation.pressed, invocation.actor.locale)


async def _admitted(invocation: Invocation, admission: Awaitable[Job]) -> CommandResult:
    """Return the new job. A repeated press returns the job of the first one, or says that it is coming."""
    try:
        return CommandResult(new=await admission)
    except RepeatedPress as repeated:
        if invocation.ref.address is None:
            return CommandResult(new=repeated.job)
        return CommandResult(notice=text(invocation.actor.locale, "studio.press.repeated"))


async def _again(ctx: AppContext, invocation: Invocation) -> CommandResult:
    return CommandResult(
        new=await job_actions.draw_again(
            ctx, invocation.actor, invocation.place, job_number(invocation), invocation.ref
        )
    )


async def _example(ctx: AppContext, invocation: Invocation) -> CommandResult:
    """Draw an example of the greeting, in the language of who pressed it."""
    prompts = example_prompts(invocation.actor.locale)
    if not 0 < invocation.pressed.job_id <= len(prompts):
        raise BadInput("refusal.press.unreadable")
    form = DrawForm(prompt=prompts[invocation.pressed.job_id - 1])
    return CommandResult(new=await admission.draw(ctx, invocation.actor, invocation.place, form, invocation.ref))


def example_prompts(locale: str) -> tuple[str, ...]:
    """Return prompts for a first try."""
    return text(locale, "example.1"), text(locale, "example.2")


def example_buttons(locale: str) -> tuple[Button, ...]:
    """Return buttons that draw an example."""
    return tuple(
        Button(text(locale, "button.example", prompt=prompt), ButtonPress(EXAMPLE, number))
        for number, prompt in enumerate(example_prompts(locale), 1)
    )


async def _original(ctx: AppContext, invocation: Invocation) -> CommandResult:
    found = await job_actions.originals(ctx, invocation.actor, invocation.place, invocation.pressed, invocation.ref)
    if found.sent:
        return CommandResult(notice=text(invocation.actor.locale, "studio.originals.sent"))
    return CommandResult(files=tuple(job_card.file_of(found.job, p, ctx.pictures) for p in found.pictures))


async def _prompt(ctx: AppContext, invocation: Invocation) -> Card:
    request = (await job_actions.get_job(ctx, invocation.pressed.job_id)).request
    if not request.typed:
        raise NotFound("refusal.prompt.gone")
    locale = invocation.actor.locale
    return Card(
        Tone.INFO,
        text(locale, "card.prompt"),
        prompt=job_actions.line_of(ctx, request),
        notes=tuple(text(locale, key, n=len(request.references)) for key in missing_from_line(request)),
        private=True,
        final=True,
        locale=locale,
    )


async def _cancel(ctx: AppContext, invocation: Invocation) -> CommandResult:
    job, won = await job_actions.cancel(ctx, invocation.pressed.job_id)
    return CommandResult(changed=job, notice="" if won else text(invocation.actor.locale, "refusal.job.ended"))


async def _loras(ctx: AppContext, invocation: Invocation) -> Card:
    """List the LoRAs that fit the default model and that the actor may use here; with words, those that have them."""
    actor, words = invocation.actor, invocation.args.get("words", "")
    rights = await rights_of(ctx, actor, invocation.place)
    profile = ctx.profiles()[0]
    usable = (lora for lora in ctx.loras() if fits(lora, profile) and rights.may_use_lora(lora, actor))
    return loras_card([lora for lora in usable if matches(lora, words)], profile, actor.locale, words=words)


def _has_prompt(job: Job, _picture: Picture | None, _profile: Profile | None) -> bool:
    return bool(job.request.typed)


def _can_expand(job: Job, _picture: Picture | None, profile: Profile | None) -> bool:
    return bool(job.request.typed) and profile is not None and profile.expands


def _can_vary(_job: Job, _picture: Picture | None, profile: Profile | None) -> bool:
    return profile is not None and Capability.VARY in profile.can


def _can_start(job: Job, _picture: Picture | None, profile: Profile | None) -> bool:
    return bool(job.request.typed) and profile is not None and Capability.IMAGE in profile.can


def _can_upscale(_job: Job, picture: Picture | None, profile: Profile | None) -> bool:
    if picture is None or profile is None or Capability.IMAGE not in profile.can:
        return False
    return requests.upscaled(picture.width, picture.height, profile) is not None


_DRAW = Command(
    name="draw",
    permission=Permission.ANYBODY,
    handler=_draw,
    args=(*OPTIONS, *PICTURES),
    private=False,
    personal=True,
    prompted=True,
    while_banned=True,  # admission asks for bans itself, in its own transaction
)

_ENDED = frozenset({Stage.ENDED, Stage.PICTURES})

COMMANDS = (
    _DRAW,
    # The word that people know from Midjourney.
    replace(_DRAW, name="imagine", listed=False),
    replace(_DRAW, name="edit", handler=_edit_picture, args=EDIT_OPTIONS, while_banned=False),
    Command(
        name="describe",
        permission=Permission.ANYBODY,
        handler=_describe,
        args=(Arg("picture", ArgType.PICTURE, required=False),),
        private=False,
        personal=True,
        listed=False,
        offered=_can_describe,
    ),
    *overview.COMMANDS,
    Command(
        action="reroll",
        permission=Permission.ANYBODY,
        handler=_reroll,
        on_job=True,
        button=JobButton(stages=_ENDED, single=True, row=0),
    ),
    Command(
        action="vary",
        permission=Permission.ANYBODY,
        handler=_vary,
        on_job=True,
        button=JobButton(each=True, single=True, row=1, offered=_can_vary),
    ),
    Command(
        action="upscale",
        permission=Permission.ANYBODY,
        handler=_upscale,
        on_job=True,
        button=JobButton(each=True, single=True, row=0, offered=_can_upscale),
    ),
    Command(
        action="edit",
        permission=Permission.ANYBODY,
        handler=_edit,
        form=True,
        on_job=True,
        button=JobButton(stages=_ENDED, single=True, offered=_has_prompt),
    ),
    Command(
        action=MORE,
        permission=Permission.ANYBODY,
        handler=_menu,
        on_job=True,
        button=JobButton(single=True, row=1),
    ),
    Command(action=CHOOSE, permission=Permission.ANYBODY, handler=_menu, on_job=True, updates=True),
    Command(action=BACK, permission=Permission.ANYBODY, handler=_back, on_job=True, updates=True),
    Command(
        action="seed",
        permission=Permission.ANYBODY,
        handler=_seed,
        on_job=True,
        button=JobButton(each=True),
    ),
    Command(
        action="start",
        permission=Permission.ANYBODY,
        handler=_start,
        form=True,
        on_job=True,
        button=JobButton(each=True, offered=_can_start),
    ),
    _on_pictures("usepicture", PictureUse.START),
    _on_pictures("editpicture", PictureUse.EDIT),
    Command(
        action="richer",
        permission=Permission.ANYBODY,
        handler=_richer,
        on_job=True,
        button=JobButton(offered=_can_expand),
    ),
    Command(action=drafts.DRAW, permission=Permission.ANYBODY, handler=_draw_text),
    Command(action=drafts.EDIT, permission=Permission.ANYBODY, handler=_edit_text, form=True),
    Command(action=drafts.STOP, permission=Permission.ANYBODY, handler=_stop_text),
    Command(
        action="prompt",
        permission=Permission.ANYBODY,
        handler=_prompt,
        on_job=True,
        button=JobButton(offered=_has_prompt),
    ),
    Command(
        action=job_card.ORIGINAL,
        permission=Permission.ANYBODY,
        handler=_original,
        on_job=True,
        button=JobButton(also_each=True),
    ),
    Command(
        action="info",
        permission=Permission.ANYBODY,
        handler=_info,
        on_job=True,
        picked_on=PickedOn.MESSAGE,
        pictures_by="inspect",
        button=JobButton(also_each=True),
    ),
    Command(action=EXAMPLE, permission=Permission.ANYBODY, handler=_example),
    Command(
        action="cancel",
        permission=Permission.AUTHOR,
        handler=_cancel,
        on_job=True,
        updates=True,
        button=JobButton(stages=frozenset({Stage.OPEN}), single=True, danger=True),
    ),
    Command(
        name="loras",
        permission=Permission.ANYBODY,
        handler=_loras,
        args=(Arg("words", ArgType.TEXT, required=False),),
        admin_details=True,
    ),
    Command(
        name="again",
        permission=Permission.ANYBODY,
        handler=_again,
        args=(Arg("number", ArgType.JOB),),
        picked_on=PickedOn.MESSAGE,
        private=False,
        personal=True,
        listed=False,
        on_job=True,
    ),
)


SHOWN_LORAS = 20
"""Most LoRAs on a card."""


def loras_card(loras: Sequence[LoraInfo], profile: Profile, locale: str, *, words: str = "") -> Card:
    """Return the list of LoRAs with their titles and trigger words.

    Args:
        loras: Those that fit the model and that the person may use; only those with ``words`` where some were typed.
        profile: The model.
        locale: The person's locale.
        words: What the list was searched for; empty for all.
    """
    if not loras:
        status = (
            text(locale, "card.loras.not_found", words=shown(words), model=profile.title)
            if words
            else text(locale, "card.loras.none", model=profile.title)
        )
        return Card(Tone.INFO, status, private=True, final=True, locale=locale)
    notes = [text(locale, "note.loras.how", example=f"{loras[0].name}:0.8")]
    if len(loras) > SHOWN_LORAS:
        notes.append(text(locale, "note.loras.more", n=len(loras) - SHOWN_LORAS))
    return Card(
        Tone.INFO,
        text(locale, "card.loras", n=len(loras), model=profile.title),
        notes=tuple(notes),
        facts=tuple(Fact(lora.name, _line(lora, locale)) for lora in loras[:SHOWN_LORAS]),
        private=True,
        final=True,
        locale=locale,
    )


def _line(lora: LoraInfo, locale: str) -> str:
    if not lora.triggers:
        return lora.title
    return text(locale, "loras.line", title=lora.title, triggers=", ".join(lora.triggers))
