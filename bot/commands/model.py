"""What a command is: who may use it, its arguments, its handler, and the button that invokes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from bot.cards.job_buttons import JobButton
from bot.context import AppContext
from bot.core.cards import ButtonPress, Card, Menu
from bot.core.forms import Form
from bot.core.jobs import Job
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.pictures import PictureFile
from bot.core.requests import PictureSource


class Permission(StrEnum):
    """Who may use a command.

    ANYBODY; ADMIN: an admin of the place where it is used, or an owner; OWNER: an owner of this Easel. For commands on
    a job, ADMIN is an admin of the place where the job was requested, and AUTHOR also allows the person who requested it.
    """

    ANYBODY = "anybody"
    AUTHOR = "author"
    ADMIN = "admin"
    OWNER = "owner"


class ArgType(StrEnum):
    """The type of an argument. Surfaces that have pickers offer them; elsewhere the value is typed.

    TEXT is the rest of the line. PERSON is a user id of the same platform (``platform:id`` names another), ROLE a role's
    id, CHANNEL a channel's or chat's id, WHOLE a whole number, DECIMAL a number, SWITCH yes or no (``YES`` and ``NO``),
    SPAN a duration such as ``3 days``, WORD one word, COUNT a number of pictures, which each surface limits.

    The core suggests values of these (``bot/drawing/suggestions.py``): PROMPT is the rest of the line, MODEL, STYLE and
    LORA name one of them, SIZE is a preset, a ratio or pixels, and JOB is the number of one of the person's own jobs.

    PICTURE is the platform's id of a picture that is sent along (``Invocation.pictures``); it can't be typed.
    """

    TEXT = "text"
    WORD = "word"
    CHOICE = "choice"
    PERSON = "person"
    ROLE = "role"
    CHANNEL = "channel"
    WHOLE = "whole"
    DECIMAL = "decimal"
    SWITCH = "switch"
    SPAN = "span"
    COUNT = "count"
    PROMPT = "prompt"
    MODEL = "model"
    STYLE = "style"
    LORA = "lora"
    SIZE = "size"
    JOB = "job"
    PICTURE = "picture"


SUGGESTED = frozenset({ArgType.PROMPT, ArgType.MODEL, ArgType.STYLE, ArgType.LORA, ArgType.SIZE, ArgType.JOB})
"""The types whose values the core suggests."""

YES, NO = "yes", "no"
"""The values of a SWITCH."""


class PickedOn(StrEnum):
    """Where a platform's own menus offer a command: on a message that shows a job, or on a person."""

    MESSAGE = "message"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a command.

    Attributes:
        name: Its name, also in the catalogues.
        type: Its type.
        required: Whether the command needs it.
        choices: The values of a CHOICE.
        limits: The least and the greatest number, for WHOLE and DECIMAL where they are the same for all models.
        named: A typed line gives it as ``name=value`` or ``name value``, never by its position alone.
    """

    name: str
    type: ArgType
    required: bool = True
    choices: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    named: bool = False


def _always(_ctx: AppContext) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something that people can ask for by typing its name, by pressing a button, or by both.

    The runner checks ``permission``, bans and access to the job; the handler does not.

    Attributes:
        name: One or two words, such as ``quota set``: the command and its subcommand. Empty where only buttons invoke it.
        permission: Who may use it.
        handler: Does it.
        args: In the order in which they are typed.
        private: The answer to the typed command is shown to its author alone.
        personal: It is about the actor's own account. The terminal, where nobody has one, does not offer it.
        listed: Menus with little room list it.
        default: Its first word means it where no subcommand follows. Each first word with subcommands has one default.
        place_only: It acts on one place, never on the whole service. The terminal needs the place's id.
        admin_details: Anybody may use it, and its answer says more to admins.
        limited_tries: Wrong attempts are counted, and each refusal says how many are left. None is a repetition.
        prompted: A typed line is its first argument whole: a prompt with flags such as ``--size 3:4``. The other
            arguments are for surfaces that have a box for each.
        action: The action of its buttons, as in ``easel:<action>:<number>[:<index>]``. Empty where no button invokes it.
        button: Where cards of jobs show its button; None where other cards bring it, or none does.
        updates: The card in its result replaces the card that has the button. Otherwise it is a private answer. A menu
            replaces a menu only.
        on_private_card: Its button works only on a card that is shown to one person alone.
        form: Its button may open a form, which comes back to the same handler as ``Invocation.submitted``.
        on_pictures: Surfaces with menus for messages offer it for those with pictures (``Invocation.pictures``).
        pictures_by: Name of the command that menus of messages run in its place on a message that shows no job; empty:
            none. It gets the message's pictures.
        on_job: Its number is that of a job, which must be the actor's own or shown in this chat.
        offered: Whether this Easel is set up for it. Where it is offered all the same, its handler says what to set.
        while_banned: A banned person may use it too: always, or where this returns True.
        picked_on: Menus of messages or people offer it, where the platform has such menus.
    """

    name: str = ""
    permission: Permission
    handler: Handler
    args: tuple[Arg, ...] = ()
    private: bool = True
    personal: bool = False
    listed: bool = True
    default: bool = False
    place_only: bool = False
    admin_details: bool = False
    limited_tries: bool = False
    prompted: bool = False
    action: str = ""
    button: JobButton | None = None
    updates: bool = False
    on_private_card: bool = False
    form: bool = False
    on_pictures: bool = False
    pictures_by: str = ""
    on_job: bool = False
    offered: Callable[[AppContext], bool] = _always
    while_banned: bool | Callable[[Invocation], bool] = False
    picked_on: PickedOn | None = None

    def __post_init__(self) -> None:
        if not (self.name or self.action):
            raise ValueError("a command needs a name, an action, or both")
        if self.permission is Permission.AUTHOR and not self.on_job:
            raise ValueError(f"{self.name or self.action}: only jobs have an author")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command as somebody typed it or pressed its button. Rights are not checked yet.

    Attributes:
        actor: Who.
        place: Where. Commands act on this place, or for owners in a direct message on the whole service.
        command: Which.
        ref: The event, and where an answer belongs.
        args: Values by the argument's name, as typed; those that were not given are missing.
        names: What the platform calls the people, roles and channels among them, by the argument's name; data.
        roles: Ids of the roles that the people among them have here, where the platform says them.
        press: The button that was pressed; None where the command was typed.
        pictures: Pictures that were sent along or that the message has, in order, still to be fetched.
        submitted: The values of the form that the button opened, by the field's name; None where none was submitted.
    """

    actor: Actor
    place: Place
    command: Command
    ref: EventRef
    args: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    press: ButtonPress | None = None
    submitted: Mapping[str, str] | None = None
    pictures: Sequence[PictureSource] = ()

    @property
    def pressed(self) -> ButtonPress:
        """The button that was pressed, for commands that only buttons invoke. Raises ValueError."""
        if self.press is None:
            raise ValueError(f"{self.command.name or self.command.action} was typed")
        return self.press


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a handler returns.

    Attributes:
        new: A job that was admitted; its card is shown.
        shown: A job whose card is shown to the actor alone.
        apart: The pictures of that card come in messages of their own.
        changed: The job of the pressed card, as it is now; its card is shown again.
        card: Another card: see ``Command.updates``.
        notice: One sentence for the actor alone, in their language.
        files: Files for the actor.
        menu: Further buttons for the actor; the result has nothing else.
        form: A form for the actor to fill in; only commands with ``form`` return one; the result has nothing else.
    """

    new: Job | None = None
    shown: Job | None = None
    apart: bool = False
    changed: Job | None = None
    card: Card | None = None
    notice: str = ""
    files: tuple[PictureFile, ...] = ()
    menu: Menu | None = None
    form: Form | None = None


Handler: TypeAlias = Callable[[AppContext, Invocation], Awaitable[CommandResult | Card]]
"""Handles a command; returning a card is short for a result with that card alone. Raises Refusal."""

HERE = "here"
"""What CHANNEL is when somebody typed "here"; surfaces put their channel's id in its place."""
