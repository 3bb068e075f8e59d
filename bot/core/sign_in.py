"""Signing in: whom a session or an API key stands for, and what people see of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bot.core.people import Actor, Place

KEY_PREFIX = "easel-"
"""What every API key begins with."""

PAGE_OWNER = Actor("web", "local", is_admin=True, is_owner=True)
"""The account of everybody who uses the page on this machine, or signs in with its token."""

PAGE = Place("web", None, "page")
"""The place of all requests that come from the page or by an API key."""


class SignInMethod(StrEnum):
    """How somebody proves who they are.

    LOCAL: by using this machine, TOKEN: by the page's token, LINK: by a link from a chat, PASSKEY and PASSWORD, KEY: by an
    API key.
    """

    LOCAL = "local"
    TOKEN = "token"  # noqa: S105 - a method's name
    LINK = "link"
    PASSKEY = "passkey"
    PASSWORD = "password"  # noqa: S105 - likewise
    KEY = "key"


class SignInLinkKind(StrEnum):
    """CHAT: a link that somebody asked for in a chat. INVITATION: an owner's link, with which people set up a sign-in."""

    CHAT = "chat"
    INVITATION = "invitation"


@dataclass(frozen=True, slots=True)
class Identity:
    """The account that a request acts as.

    Attributes:
        actor: The account; it speaks English until the request says another language.
        method: How it was proved.
        account_id: Its row; None for an account that has none yet.
        session_id: The session; None without one.
        key_id: The API key; None without one.
        admin_of: The place whose admin it is; None if there is none.
    """

    actor: Actor
    method: SignInMethod
    account_id: int | None = None
    session_id: int | None = None
    key_id: int | None = None
    admin_of: Place | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just opened.

    Attributes:
        token: The secret for the browser's cookie.
        account_id: Its account.
        name: The account's name; data.
    """

    token: str = field(repr=False)
    account_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its person sees it. Times are Unix seconds."""

    id: int
    method: SignInMethod
    browser: str
    created_at: float
    used_at: float


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A one-time link that is still valid.

    Attributes:
        id: Its number.
        kind: See SignInLinkKind.
        account_id: The account that it signs in; None for an invitation that makes a new account.
        place_id: The place whose admin asked for it there; None otherwise.
        name: The name of the account, or the one that the owner suggests; data.
        quota: The rule that a new account gets, as typed; empty for none.
        created_by: ``platform:user id``, or ``operator``.
        expires_at: Unix seconds.
    """

    id: int
    kind: SignInLinkKind
    account_id: int | None
    place_id: int | None
    name: str
    quota: str
    created_by: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey: a key pair of which the browser or phone keeps the private part.

    Attributes:
        id: Its number.
        account_id: The account that it signs in.
        credential_id: The browser's id of it, in base64url.
        public_key: In COSE format, in base64url.
        host: The host name that it is valid for.
        sign_count: The authenticator's counter, which never goes back; 0 where it has none.
        name: What its owner calls it; data.
        created_at: Unix seconds.
        used_at: Unix seconds; None if it was never used.
    """

    id: int
    account_id: int
    credential_id: str
    public_key: str = field(repr=False)
    host: str
    sign_count: int
    name: str
    created_at: float
    used_at: float | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret.

    Attributes:
        id: Its number.
        name: Its name; data.
        prefix: Its first letters.
        platform: Platform of the account that it acts as.
        user_id: The account's id there.
        created_by: ``platform:user id``, or ``operator``.
        created_at: Unix seconds.
        used_at: When it was last used, to a minute; None if it never was.
        revoked_at: When it was revoked; None if it is valid.
    """

    id: int
    name: str
    prefix: str
    platform: str
    user_id: str
    created_by: str
    created_at: float
    used_at: float | None
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key that was just created.

    Attributes:
        key: The key itself, which is shown once.
        info: The rest.
    """

    key: str = field(repr=False)
    info: ApiKey
