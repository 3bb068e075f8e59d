"""The panel of a place's admins: a button for each setting, and a form made from the arguments of its command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bot.admin import commands as admin
from bot.cards.i18n import text
from bot.commands.model import Arg, ArgType, Command, CommandResult, Invocation, Permission
from bot.context import AppContext
from bot.core.cards import Button, ButtonPress, Card
from bot.core.errors import BadInput
from bot.core.forms import MAX_FIELDS, Form
from bot.core.preferences import DEFAULTS
from bot.drawing.argument_fields import NONE, choices_of, field_of, read_fields
from bot.moderation import commands as moderation
from bot.preferences import commands as preferences
from bot.privacy import commands as privacy

PANEL = "panel"
"""Action of the buttons; their number is the command's index in ``NAMES``."""

NAMES = (
    "easel defaults",
    "easel preset",
    "easel words",
    "easel keep",
    "easel timezone",
    "easel pause",
    "easel resume",
    "easel rights",
    "easel bans",
    "easel changes",
)
"""What the panel offers. Buttons that were sent carry the index: add at the end only."""

_COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (*admin.COMMANDS, *moderation.COMMANDS, *preferences.COMMANDS, *privacy.COMMANDS)
}
_IN_A_ROW = 5


async def _open(ctx: AppContext, invocation: Invocation) -> Card:
    """Show what holds here, and to admins the buttons of the panel."""
    card, admin_here = await admin.limits(ctx, invocation)
    if not admin_here or invocation.place.guild is None:
        return card
    locale = invocation.actor.locale
    buttons = [Button(text(locale, f"panel.{_key(name)}"), ButtonPress(PANEL, i)) for i, name in enumerate(NAMES)]
    rows = tuple(tuple(buttons[i : i + _IN_A_ROW]) for i in range(0, len(buttons), _IN_A_ROW))
    return replace(card, buttons=rows, locale=locale)


async def _press(ctx: AppContext, invocation: Invocation) -> CommandResult | Card:
    """Open the form of a command, run it with the values that come back, or run one that needs none."""
    press = invocation.pressed
    if press.job_id >= len(NAMES):
        raise BadInput("refusal.press.unreadable")
    command = _COMMANDS[NAMES[press.job_id]]
    args = _fields(command)
    if not args:
        return await _run(ctx, invocation, command, {})
    if invocation.submitted is not None:
        emptied = _emptied(_current(ctx, invocation, command), args, invocation.submitted)
        return await _run(ctx, invocation, command, emptied | read_fields(command, args, invocation.submitted))
    if press.index is not None:
        choices = await choices_of(ctx, invocation.actor, invocation.place, args[0])
        if len(args) > 1 or press.index >= len(choices):
            raise BadInput("refusal.press.unreadable")
        return await _run(ctx, invocation, command, {args[0].name: choices[press.index].value})
    return CommandResult(form=await _form(ctx, invocation, command))


def _fields(command: Command) -> tuple[Arg, ...]:
    """Return the arguments that a form can ask for: no form has a picker of roles or LoRAs."""
    shown = (arg for arg in command.args if arg.type not in {ArgType.ROLE, ArgType.LORA, ArgType.CHANNEL})
    return tuple(shown)[:MAX_FIELDS]


def _current(ctx: AppContext, invocation: Invocation, command: Command) -> dict[str, str]:
    """Return what is set in the place, by the argument's name."""
    found = ctx.preferences.of_place(invocation.place).get(DEFAULTS) if command.name == "easel defaults" else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _emptied(current: Mapping[str, str], args: Iterable[Arg], submitted: Mapping[str, str]) -> dict[str, str]:
    """Return the texts that were set and whose field came back empty: they are removed."""
    texts = (arg.name for arg in args if arg.type in {ArgType.TEXT, ArgType.WORD})
    return {name: NONE for name in texts if name in current and not submitted.get(name, current[name]).strip()}


async def _form(ctx: AppContext, invocation: Invocation, command: Command) -> Form:
    actor, place, press = invocation.actor, invocation.place, invocation.pressed
    args = _fields(command)
    values = _current(ctx, invocation, command)
    fields = tuple([await field_of(ctx, actor, place, arg, values.get(arg.name, "")) for arg in args])
    choices = fields[0].choices if len(fields) == 1 else ()
    typed = (f"{arg.name} {values.get(arg.name, NONE)}" if arg.named else _example(arg) for arg in args)
    return Form(
        text(actor.locale, f"panel.{_key(command.name)}"),
        ButtonPress(PANEL, press.job_id),
        fields,
        line=" ".join((f"/{command.name}", *typed)),
        buttons=tuple(
            (Button(choice.label, ButtonPress(PANEL, press.job_id, index)),) for index, choice in enumerate(choices)
        ),
    )


def _example(arg: Arg) -> str:
    return arg.choices[0] if arg.choices else _EXAMPLES.get(arg.type, arg.name)


_EXAMPLES: Mapping[ArgType, str] = {ArgType.SPAN: "90 days", ArgType.WORD: "Europe/Berlin"}


async def _run(
    ctx: AppContext, invocation: Invocation, command: Command, args: Mapping[str, str]
) -> CommandResult | Card:
    # The panel needs the right of an admin, as each of its commands does.
    return await command.handler(ctx, replace(invocation, command=command, args=args, press=None, submitted=None))


def _key(name: str) -> str:
    return name.partition(" ")[2]


COMMANDS = (
    Command(
        name="easel limits",
        permission=Permission.ANYBODY,
        handler=_open,
        listed=False,
        default=True,
        place_only=True,
        admin_details=True,
    ),
    Command(name="easel panel", permission=Permission.ADMIN, handler=_open, place_only=True),
    Command(action=PANEL, permission=Permission.ADMIN, handler=_press, form=True),
)
