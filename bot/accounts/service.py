"""Accounts of the page: sessions, invitations, passwords, passkeys and API keys."""

from __future__ import annotations

from bot.accounts.api_keys import KeyService
from bot.accounts.invitations import InvitationService
from bot.accounts.passkeys import PasskeyService
from bot.accounts.passwords import PasswordService
from bot.accounts.sessions import SessionService
from bot.core.access import Owners
from bot.core.ports import Clock
from bot.storage.database import Transactions


class AccountService:
    """What the page's sign-in and the command line use.

    Attributes:
        sessions: Sessions and the links from chats.
        keys: API keys.
        passwords: Sign-in by name and password.
        passkeys: Sign-in by passkey.
        invitations: Owners' links for new members.
    """

    def __init__(self, db: Transactions, clock: Clock, owners: Owners) -> None:
        """Args:
        db: Where the rows are.
        clock: Time.
        owners: The live list of owners.
        """
        self.sessions = SessionService(db, clock, owners)
        self.keys = KeyService(db, clock)
        self.passwords = PasswordService(db, clock, self.sessions)
        self.passkeys = PasskeyService(db, clock, self.sessions)
        self.invitations = InvitationService(db, clock, self.sessions, self.passwords)
