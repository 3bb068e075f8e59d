"""Commands ``settings``, ``easel defaults`` and ``easel rights``: what holds for requests where nothing is typed, and who may use what."""

from __future__ import annotations

from collections.abc import Mapping

from bot.cards.i18n import text
from bot.commands.arguments import ROLE
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Button, ButtonPress, Card
from bot.core.errors import BadInput, NotAllowed
from bot.core.forms import Form
from bot.core.preferences import DEFAULTS, RECIPE, RIGHTS, RecipeRule, defaults_of_channel
from bot.core.requests import DrawForm
from bot.core.texts import clean, shown
from bot.drawing.argument_fields import NONE, choices_of, field_of, read_fields
from bot.drawing.defaults import read_rights, rights_of
from bot.drawing.model_rules import ADMINS, EVERYONE, choose_model, find_lora
from bot.drawing.request_rules import check_form
from bot.drawing.styles import is_none
from bot.places.options import set_place_option
from bot.preferences import cards
from bot.preferences.cards import SETTINGS
from bot.storage import people, preferences
from bot.storage.database import Tx

_MODEL = Arg("model", ArgType.MODEL, required=False, named=True)
_SIZE = Arg("size", ArgType.SIZE, required=False, named=True)
_STYLE = Arg("style", ArgType.STYLE, required=False, named=True)

OWN = (
    _MODEL,
    _SIZE,
    Arg("count", ArgType.COUNT, required=False, named=True),
    _STYLE,
    Arg("private", ArgType.SWITCH, required=False, named=True),
    Arg("language", ArgType.CHOICE, required=False, named=True, choices=("en", "zh_cn")),
    Arg(
        RECIPE,
        ArgType.CHOICE,
        required=False,
        named=True,
        choices=(RecipeRule.ALWAYS, RecipeRule.PUBLIC, RecipeRule.NEVER),
    ),
)
"""What a person can set for themselves. Their order is in the buttons of cards: add at the end only."""

_LOCALES: Mapping[str, str] = {"en": "en", "zh_cn": "zh_CN"}
"""Locales by the value of the language."""

CHANNEL_DEFAULTS = (_MODEL, _SIZE, _STYLE, Arg("negative", ArgType.WORD, required=False, named=True))
"""What admins can set for a place or a channel."""

MOST_RIGHTS = 200
"""Most models and LoRAs that a place narrows."""


async def _settings(ctx: AppContext, invocation: Invocation) -> CommandResult | Card:
    """Show one's settings, set those that were given, or answer a button: each opens the form of one setting."""
    if invocation.press is None:
        return await _set_own(ctx, invocation, invocation.args)
    number = invocation.press.job_id
    if number == len(OWN):
        return await _set_own(ctx, invocation, dict.fromkeys((arg.name for arg in OWN), NONE))
    if number > len(OWN):
        raise BadInput("refusal.press.unreadable")
    arg = OWN[number]
    if invocation.submitted is not None:
        return await _set_own(
            ctx, invocation, {arg.name: NONE} | read_fields(invocation.command, (arg,), invocation.submitted)
        )
    choices = await choices_of(ctx, invocation.actor, invocation.place, arg)
    if invocation.press.index is not None:
        if invocation.press.index >= len(choices):
            raise BadInput("refusal.press.unreadable")
        return await _set_own(ctx, invocation, {arg.name: choices[invocation.press.index].value})
    return CommandResult(form=await _form_of_own(ctx, invocation, arg))


async def _form_of_own(ctx: AppContext, invocation: Invocation, arg: Arg) -> Form:
    actor = invocation.actor
    current = _shown_values(ctx.preferences.of_person(actor)).get(arg.name, "")
    field = await field_of(ctx, actor, invocation.place, arg, current)
    pressed = invocation.pressed
    buttons = [
        Button(choice.label, ButtonPress(SETTINGS, pressed.job_id, index)) for index, choice in enumerate(field.choices)
    ]
    return Form(
        text(actor.locale, "card.settings"),
        ButtonPress(SETTINGS, pressed.job_id),
        (field,),
        line=f"/settings {arg.name} {current or NONE}",
        buttons=tuple((button,) for button in buttons),
    )


async def _set_own(ctx: AppContext, invocation: Invocation, args: Mapping[str, str]) -> Card:
    actor = invocation.actor
    given = {arg.name: args[arg.name] for arg in OWN if arg.name in args}
    values = {name: None if is_none(value) else value for name, value in given.items()}
    if values.get("language") is not None:
        values["language"] = _LOCALES[str(values["language"])]
    checked = {name: value for name, value in values.items() if value is not None}
    await _check(ctx, invocation, checked)
    if values:
        async with ctx.db.write() as tx:
            person = await people.remember(tx, actor, now=ctx.clock.now())
            for name, value in values.items():
                await preferences.put(tx, person.id, name, value)
        await preferences.refresh(ctx.db, ctx.preferences)
    found = ctx.preferences.of_person(actor)
    locale = ctx.preferences.locale(actor.platform, actor.user_id, actor.locale)
    return cards.settings_card(_shown_values(found), [arg.name for arg in OWN], locale, changed=bool(values))


def _shown_values(found: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value).lower() if name == "language" else str(value) for name, value in found.items()}


async def _check(ctx: AppContext, invocation: Invocation, values: Mapping[str, str]) -> None:
    """Raise BadInput or NotAllowed unless a request with these values could be drawn."""
    actor, profiles = invocation.actor, ctx.profiles()
    form = DrawForm(
        "x",
        model=values.get("model"),
        size=values.get("size"),
        count=values.get("count"),
        style=values.get("style"),
        negative=values.get("negative"),
    )
    if form.model is not None:
        profile = choose_model(form.model, profiles)
        if not (await rights_of(ctx, actor, invocation.place)).may_use_model(profile, actor):
            raise NotAllowed("refusal.model.not_yours", model=profile.title)
        if profile.needs_reference:
            raise BadInput("refusal.defaults.reference", model=profile.title)
    check_form(form, profiles, ctx.max_count(actor.platform), ctx.rng, ctx.styles)


async def _defaults(ctx: AppContext, invocation: Invocation) -> Card:
    """Show the defaults of the place and of this channel, or set those that were given; ``none`` removes one."""
    args, place = invocation.args, invocation.place
    given = {arg.name: clean(args[arg.name]) for arg in CHANNEL_DEFAULTS if arg.name in args}
    where = DEFAULTS if args.get("where", "place") == "place" else defaults_of_channel(place)
    if where != DEFAULTS and not place.channel:
        raise BadInput("refusal.defaults.channel")
    await _check(ctx, invocation, {name: value for name, value in given.items() if not is_none(value)})
    if given:
        async with ctx.db.write() as tx:
            before = await _option(tx, invocation, where)
            after = {name: value for name, value in (before | given).items() if not is_none(value)}
            await set_place_option(tx, invocation, where, after or None, now=ctx.clock.now())
        await preferences.refresh(ctx.db, ctx.preferences)
    async with ctx.db.read() as tx:
        of_place = await _option(tx, invocation, DEFAULTS)
        of_channel = await _option(tx, invocation, defaults_of_channel(place))
    return cards.defaults_card(of_place, of_channel, invocation.actor.locale, changed=bool(given))


async def _option(tx: Tx, invocation: Invocation, name: str) -> dict[str, str]:
    place_id = await people.find_place(tx, invocation.place)
    option = None if place_id is None else await people.get_option(tx, place_id, name)
    return {str(key): str(value) for key, value in option.items()} if isinstance(option, dict) else {}


async def _rights(ctx: AppContext, invocation: Invocation) -> Card:
    """Show who may use what, or set it for one model or LoRA: everyone, admins, or a role more or less."""
    args, locale = invocation.args, invocation.actor.locale
    key = _subject(ctx, args)
    who, role = args.get("who"), args.get("role")
    if key is None and (who or role):
        raise BadInput("refusal.rights.subject")
    if key is not None and not (who or role):
        raise BadInput("refusal.rights.who")
    async with ctx.db.write() as tx:
        place_id = await people.find_place(tx, invocation.place)
        known = dict(read_rights(None if place_id is None else await people.get_option(tx, place_id, RIGHTS)))
        if key is None:
            return cards.rights_card(known, locale)
        allowed = [ADMINS] if who == ADMINS else [] if who else [one for one in known.get(key, ()) if one != EVERYONE]
        if role is not None:
            # One command adds a role and, used again, removes it.
            allowed = [one for one in allowed if one != role] if role in allowed else [*allowed, role]
        after = {name: list(values) for name, values in (known | {key: allowed}).items() if values}
        if len(after) > MOST_RIGHTS:
            raise BadInput("refusal.rights.too_many", n=MOST_RIGHTS)
        await set_place_option(tx, invocation, RIGHTS, after or None, now=ctx.clock.now())
    await preferences.refresh(ctx.db, ctx.preferences)
    return cards.rights_card({key: allowed or [EVERYONE]}, locale, changed=True)


def _subject(ctx: AppContext, args: Mapping[str, str]) -> str | None:
    """Return the key of the model or the LoRA that was named; None if none was. Raises BadInput."""
    if "model" in args and "lora" in args:
        raise BadInput("refusal.rights.subject")
    if "model" in args:
        return f"model:{choose_model(args['model'], ctx.profiles()).name}"
    if "lora" not in args:
        return None
    info = find_lora(args["lora"], ctx.loras())
    if info is None:
        raise BadInput("refusal.lora.none", value=shown(args["lora"]))
    return f"lora:{info.name}"


COMMANDS = (
    Command(
        name="settings",
        permission=Permission.ANYBODY,
        handler=_settings,
        args=OWN,
        personal=True,
        action=SETTINGS,
        form=True,
        while_banned=True,
    ),
    Command(
        name="easel defaults",
        permission=Permission.ADMIN,
        handler=_defaults,
        args=(Arg("where", ArgType.CHOICE, required=False, choices=("place", "channel")), *CHANNEL_DEFAULTS),
        place_only=True,
    ),
    Command(
        name="easel rights",
        permission=Permission.ADMIN,
        handler=_rights,
        args=(
            _MODEL,
            Arg("lora", ArgType.LORA, required=False, named=True),
            Arg("who", ArgType.CHOICE, required=False, choices=(EVERYONE, ADMINS)),
            ROLE,
        ),
        place_only=True,
    ),
)
