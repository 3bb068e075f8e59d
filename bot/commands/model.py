"""The verbs that people type: one table for every surface, so that each of them offers the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bot.core.messages import EventRef
from bot.core.people import Actor, Place


class Permission(StrEnum):
    """Who may use a verb: anybody, an admin of the place where it is typed (or an owner), an owner of this Easel."""

    ANYBODY = "anybody"
    ADMIN = "admin"
    OWNER = "owner"


class ArgType(StrEnum):
    """What an argument is. Surfaces that have pickers offer them; elsewhere it is typed.

    TEXT is the rest of the line. PERSON is a user id of the same platform (``platform:id`` names another), ROLE a role's
    id, CHANNEL a channel's or chat's id, WHOLE a whole number, SPAN a length of time such as ``3 days``, WORD one word.
    """

    TEXT = "text"
    WORD = "word"
    CHOICE = "choice"
    PERSON = "person"
    ROLE = "role"
    CHANNEL = "channel"
    WHOLE = "whole"
    SPAN = "span"


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a verb; ``choices`` for CHOICE alone."""

    name: str
    takes: ArgType
    required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """Something that can be typed.

    Attributes:
        name: One or two words, such as ``quota set``: the first is the command, the second its subcommand.
        who: Who may.
        args: In the order in which they are typed.
        private: Its answer is for who typed it; others may see what it has changed for everybody.
    """

    name: str
    who: Permission
    args: tuple[Arg, ...] = ()
    private: bool = True


@dataclass(frozen=True, slots=True)
class Invocation:
    """A verb as somebody typed it; rights are not checked yet.

    Attributes:
        actor: Who.
        place: Where: verbs act on this place, or for owners in a direct message on the whole service.
        verb: Which.
        ref: The event, and where an answer belongs.
        args: By the argument's name; those that were not given are missing. Text as it was typed.
        names: What the platform calls the people, roles and channels among them, by the argument's name; data.
        roles: Ids of the roles that the people among them have here, where the platform says them, likewise.
    """

    actor: Actor
    place: Place
    verb: Command
    ref: EventRef
    args: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


HERE = "here"
"""What CHANNEL is when somebody typed "here"; surfaces put their channel's id in its place."""

_PERSON = Arg("person", ArgType.PERSON)
_ANY_PERSON = Arg("person", ArgType.PERSON, required=False)
_ROLE = Arg("role", ArgType.ROLE, required=False)
_CHANNEL = Arg("channel", ArgType.CHANNEL, required=False)
_SPAN = Arg("span", ArgType.SPAN, required=False)
_NUMBER = Arg("number", ArgType.WHOLE)
_CODE = Arg("code", ArgType.WORD)

VERBS: tuple[Command, ...] = (
    Command("quota show", Permission.ANYBODY, (_ANY_PERSON,)),
    Command("quota why", Permission.ANYBODY, (_ANY_PERSON,)),
    Command("quota set", Permission.ADMIN, (_ROLE, _ANY_PERSON, _CHANNEL, Arg("rule", ArgType.TEXT)), private=False),
    Command("quota reset", Permission.ADMIN, (_ROLE, _ANY_PERSON, _CHANNEL), private=False),
    Command("quota grant", Permission.ADMIN, (_PERSON, _NUMBER, _SPAN), private=False),
    Command("quota lend", Permission.ADMIN, (_PERSON, _NUMBER, _SPAN), private=False),
    Command("easel limits", Permission.ANYBODY),
    Command(
        "easel preset",
        Permission.ADMIN,
        (Arg("preset", ArgType.CHOICE, choices=("open", "club", "strict", "paused")),),
        private=False,
    ),
    Command("easel pause", Permission.ADMIN, private=False),
    Command("easel resume", Permission.ADMIN, private=False),
    Command("easel log", Permission.ADMIN, (_CHANNEL, Arg("level", ArgType.CHOICE, required=False, choices=("off",)))),
    Command("easel admins", Permission.ADMIN, (_ROLE,)),
    Command("easel timezone", Permission.ADMIN, (Arg("zone", ArgType.WORD),)),
    Command(
        "easel words", Permission.ADMIN, (Arg("level", ArgType.CHOICE, choices=("off", "warn", "refuse", "spoiler")),)
    ),
    Command("easel keep", Permission.ADMIN, (_SPAN,)),
    Command("easel ban", Permission.ADMIN, (_PERSON, _SPAN, Arg("reason", ArgType.TEXT, required=False))),
    Command("easel unban", Permission.ADMIN, (_PERSON,)),
    Command("easel bans", Permission.ADMIN),
    Command("easel changes", Permission.ADMIN),
    Command("easel undo", Permission.ADMIN, (_NUMBER,)),
    Command("easel service", Permission.OWNER, (Arg("state", ArgType.CHOICE, choices=("run", "drain", "pause")),)),
    Command("easel waiting", Permission.OWNER),
    Command("easel allow", Permission.OWNER, (_NUMBER, Arg("rule", ArgType.TEXT, required=False))),
    Command("easel refuse", Permission.OWNER, (_NUMBER,)),
    Command("claim", Permission.ANYBODY, (_CODE,)),
    Command("link", Permission.ANYBODY, (Arg("code", ArgType.WORD, required=False),)),
    Command("unlink", Permission.ANYBODY),
    Command("search", Permission.ANYBODY, (Arg("words", ArgType.TEXT),)),
    Command("favourites", Permission.ANYBODY),
    Command("again", Permission.ANYBODY, (_NUMBER,), private=False),
    Command("export", Permission.ANYBODY),
    Command("forget", Permission.ANYBODY, (Arg("confirm", ArgType.WORD, required=False),)),
)
"""Every verb but ``draw``, ``history``, ``cancel`` and ``help``, which every surface has in its own form."""
