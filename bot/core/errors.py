"""Refusals: bad input answered with one clear sentence, never with a stack trace."""

from __future__ import annotations

from collections.abc import Mapping


class Key(str):
    """A message id of the catalogues, given as the value of a field: it is translated before it is filled in.

    Any other text is data and stays as it was typed.
    """

    __slots__ = ()


class Refusal(Exception):
    """Something was asked for that can't be done; says what was wrong and what to do.

    Attributes:
        key: Message id in the catalogues of ``bot/cards/locales``; every key stands in each of them.
        params: Values for the named fields of the message. A ``Key`` is translated first. ``wait``, in seconds, becomes
            "in 3 hours"; ``usage``, how a command is written, gets its arguments' names in the person's language.
            ``n``, when given, also chooses the plural form.
    """

    def __init__(self, key: str, **params: str | int | float) -> None:
        super().__init__(key, params)
        self.key = key
        self.params: Mapping[str, str | int | float] = params


class BadInput(Refusal):
    """What was typed can't be understood or is out of range."""


class Conflict(BadInput):
    """The event behind a request has come before, with another request."""


class Moderated(BadInput):
    """The words are not drawn here; repeated requests have to wait."""


class OverQuota(Refusal):
    """The person's quota does not allow it now."""


class NotAllowed(Refusal):
    """The person may not do this here."""


class AdminsOnly(NotAllowed):
    """Admins of the place alone may do this. Where a platform looks that right up late, the same may be tried with it."""


class Uninvited(NotAllowed):
    """No owner has let them in (yet). They may go on writing for ever, so who keeps answers keeps this one once."""


class NotFound(Refusal):
    """There is no such thing, or it is not theirs to see."""


class Unavailable(Refusal):
    """Easel can't do it at the moment: no disk space, database locked, engine broken."""
