"""Fields of forms for the arguments of commands: selects of models, styles, sizes and choices, and text for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bot.cards.i18n import text
from bot.commands.model import NO, YES, Arg, ArgType, Command
from bot.commands.parser import usage
from bot.context import AppContext
from bot.core.errors import BadInput, Key
from bot.core.forms import MAX_CHOICES, FieldKind, FormChoice, FormField
from bot.core.people import Actor, Place
from bot.core.texts import shown
from bot.drawing import suggestions

NONE = "none"
"""The value of a choice that removes what was set."""


async def field_of(ctx: AppContext, actor: Actor, place: Place, arg: Arg, value: str = "") -> FormField:
    """Return the field for an argument.

    Args:
        ctx: The use cases' context.
        actor: Who fills it in.
        place: Where.
        arg: The argument; one that is not required may also be set to nothing.
        value: What is set now.
    """
    label = text(actor.locale, f"form.{arg.name}")
    choices = await choices_of(ctx, actor, place, arg)
    if not choices:
        return FormField(arg.name, label, value, required=arg.required)
    if value not in {choice.value for choice in choices}:
        value = ""
    return FormField(arg.name, label, value, FieldKind.CHOICE, required=arg.required, choices=choices)


async def choices_of(ctx: AppContext, actor: Actor, place: Place, arg: Arg) -> tuple[FormChoice, ...]:
    """Return what can be chosen for an argument; nothing where it is typed."""
    locale = actor.locale
    match arg.type:
        case ArgType.CHOICE:
            return tuple(FormChoice(value, text(locale, f"choice.{value}")) for value in arg.choices)
        case ArgType.SWITCH:
            return tuple(FormChoice(value, text(locale, f"choice.{value}")) for value in (YES, NO))
        case ArgType.COUNT:
            most = ctx.max_count(actor.platform)
            found = [FormChoice(str(number), str(number)) for number in range(1, most + 1)]
        case ArgType.MODEL | ArgType.STYLE | ArgType.SIZE:
            suggested = await suggestions.suggest(ctx, actor, place, arg, "", given={})
            found = [FormChoice(one.value, one.label) for one in suggested]
        case _:
            return ()
    if not arg.required:
        found.insert(0, FormChoice(NONE, text(locale, "choice.none")))
    return tuple(found[:MAX_CHOICES])


def read_fields(command: Command, args: Iterable[Arg], submitted: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a form's fields by the argument's name, without those that were left empty.

    Raises:
        BadInput: A required value is missing, or one is not among its choices: a client may submit anything.
    """
    found = {}
    for arg in args:
        value = submitted.get(arg.name, "").strip()
        choices = (YES, NO) if arg.type is ArgType.SWITCH else arg.choices
        if not value:
            if arg.required:
                raise BadInput("refusal.command.missing", argument=Key(f"argument.{arg.name}"), usage=usage(command))
            continue
        if choices and value not in choices:
            raise BadInput("refusal.command.no_choice", value=shown(value), usage=usage(command))
        found[arg.name] = value
    return found
