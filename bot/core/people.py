"""Who asks and where: actors, people and places."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """The account that acts, as its platform names it.

    Attributes:
        platform: ``discord``, ``telegram`` or ``web``.
        user_id: The platform's own id, as text.
        name: What the platform shows; data, never markup.
        roles: Ids of the roles that the account has in the place where it acts.
        is_admin: May set rules in the place where it acts (Manage Server; a group's administrator).
        is_owner: Runs this Easel (named in the settings, or sits at the local page).
        locale: ``en`` or ``zh_CN``: the language that its platform reports, mapped to one that Easel speaks.
        handle: What others write to name the account (Telegram's ``@name``, without the ``@``), where there is such a thing.
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
    """Where something is asked.

    Attributes:
        platform: As in Actor.
        guild: Discord server or Telegram group whose admins set rules here; None in direct messages and on the page.
        channel: The channel or chat that messages are shown in.
        thread: A thread or forum topic inside the channel.
        age_restricted: Whether the platform marks the channel as for adults.
        locale: The place's own language, if it has one.
        name: What the platform calls it; data, never markup.
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
    """One human being, with one or more accounts."""

    id: int
    account_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Account:
    """What one human being is on one platform."""

    platform: str
    user_id: str
    name: str
