"""The verbs that people type: one table for every surface, so that each of them offers the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bot.model.messages import Ref
from bot.model.people import Actor, Place


class Who(StrEnum):
    """Who may use a verb: anybody, an admin of the place where it is typed (or an owner), an owner of this Easel."""

    ANYBODY = "anybody"
    ADMIN = "admin"
    OWNER = "owner"


class Takes(StrEnum):
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
    takes: Takes
    required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that can be typed.

    Attributes:
        name: One or two words, such as ``quota set``: the first is the command, the second its subcommand.
        who: Who may.
        args: In the order in which they are typed.
        private: Its answer is for who typed it; others may see what it has changed for everybody.
    """

    name: str
    who: Who
    args: tuple[Arg, ...] = ()
    private: bool = True


@dataclass(frozen=True, slots=True)
class Call:
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
    verb: Verb
    ref: Ref
    args: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


HERE = "here"
"""What CHANNEL is when somebody typed "here"; surfaces put their channel's id in its place."""

_PERSON = Arg("person", Takes.PERSON)
_ANY_PERSON = Arg("person", Takes.PERSON, required=False)
_ROLE = Arg("role", Takes.ROLE, required=False)
_CHANNEL = Arg("channel", Takes.CHANNEL, required=False)
_SPAN = Arg("span", Takes.SPAN, required=False)
_NUMBER = Arg("number", Takes.WHOLE)
_CODE = Arg("code", Takes.WORD)

VERBS: tuple[Verb, ...] = (
    Verb("quota show", Who.ANYBODY, (_ANY_PERSON,)),
    Verb("quota why", Who.ANYBODY, (_ANY_PERSON,)),
    Verb("quota set", Who.ADMIN, (_ROLE, _ANY_PERSON, _CHANNEL, Arg("rule", Takes.TEXT)), private=False),
    Verb("quota reset", Who.ADMIN, (_ROLE, _ANY_PERSON, _CHANNEL), private=False),
    Verb("quota grant", Who.ADMIN, (_PERSON, _NUMBER, _SPAN), private=False),
    Verb("quota lend", Who.ADMIN, (_PERSON, _NUMBER, _SPAN), private=False),
    Verb("easel limits", Who.ANYBODY),
    Verb(
        "easel preset",
        Who.ADMIN,
        (Arg("preset", Takes.CHOICE, choices=("open", "club", "strict", "paused")),),
        private=False,
    ),
    Verb("easel pause", Who.ADMIN, private=False),
    Verb("easel resume", Who.ADMIN, private=False),
    Verb("easel log", Who.ADMIN, (_CHANNEL, Arg("level", Takes.CHOICE, required=False, choices=("off",)))),
    Verb("easel admins", Who.ADMIN, (_ROLE,)),
    Verb("easel timezone", Who.ADMIN, (Arg("zone", Takes.WORD),)),
    Verb("easel words", Who.ADMIN, (Arg("level", Takes.CHOICE, choices=("off", "warn", "refuse", "spoiler")),)),
    Verb("easel keep", Who.ADMIN, (_SPAN,)),
    Verb("easel ban", Who.ADMIN, (_PERSON, _SPAN, Arg("reason", Takes.TEXT, required=False))),
    Verb("easel unban", Who.ADMIN, (_PERSON,)),
    Verb("easel bans", Who.ADMIN),
    Verb("easel changes", Who.ADMIN),
    Verb("easel undo", Who.ADMIN, (_NUMBER,)),
    Verb("easel service", Who.OWNER, (Arg("state", Takes.CHOICE, choices=("run", "drain", "pause")),)),
    Verb("easel waiting", Who.OWNER),
    Verb("easel allow", Who.OWNER, (_NUMBER, Arg("rule", Takes.TEXT, required=False))),
    Verb("easel refuse", Who.OWNER, (_NUMBER,)),
    Verb("claim", Who.ANYBODY, (_CODE,)),
    Verb("link", Who.ANYBODY, (Arg("code", Takes.WORD, required=False),)),
    Verb("unlink", Who.ANYBODY),
    Verb("search", Who.ANYBODY, (Arg("words", Takes.TEXT),)),
    Verb("favourites", Who.ANYBODY),
    Verb("again", Who.ANYBODY, (_NUMBER,), private=False),
    Verb("export", Who.ANYBODY),
    Verb("forget", Who.ANYBODY, (Arg("confirm", Takes.WORD, required=False),)),
)
"""Every verb but ``draw``, ``history``, ``cancel`` and ``help``, which every surface has in its own form."""
