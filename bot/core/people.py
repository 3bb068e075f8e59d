"""People, their accounts, and places."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """The account that acts, as its platform names it.

    Attributes:
        platform: ``discord``, ``telegram`` or ``web``.
        user_id: The platform's own id, as text.
        name: Display name; data, never markup.
        roles: Ids of the account's roles in the place where it acts.
        is_admin: Whether it may set rules in the place where it acts (Manage Server; a group's administrator).
        is_owner: Whether it is an operator of this Easel (named in the settings, or using the local page).
        locale: ``en`` or ``zh_CN``: the language that the platform reports, mapped to one of Easel's.
        handle: The account's unique name (Telegram's ``@name``, without the ``@``); empty if it has none.
    """

    platform: str
    user_id: str
    name: str = ""
    roles: tuple[str, ...] = ()
    is_admin: bool = False
    is_owner: bool = False
    locale: str = "en"
    handle: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """The place that a request comes from.

    Attributes:
        platform: As in Actor.
        guild: Id of the Discord server or Telegram group; None in direct messages and on the page.
        channel: Id of the channel or chat.
        thread: Id of the thread or forum topic in the channel.
        age_restricted: Whether the platform marks the channel as adults-only.
        locale: The place's language, if the platform reports one.
        name: Display name; data, never markup.
    """

    platform: str
    guild: str | None
    channel: str
    thread: str | None = None
    age_restricted: bool = False
    locale: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A person, by one of their accounts. A person has one or more accounts, at most one on each platform."""

    id: int
    account_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account on a platform."""

    platform: str
    user_id: str
    name: str
