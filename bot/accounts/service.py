"""Accounts of the page: sessions and API keys."""

from __future__ import annotations

from bot.accounts.api_keys import KeyService
from bot.accounts.sessions import SessionService
from bot.core.access import Owners
from bot.core.ports import Clock
from bot.storage.database import Transactions


class AccountService:
    """What the page's sign-in and the command line use.

    Attributes:
        sessions: Sessions and the links from chats.
        keys: API keys.
    """

    def __init__(self, db: Transactions, clock: Clock, owners: Owners) -> None:
        """Args:
        db: Where the rows are.
        clock: Time.
        owners: The live list of owners.
        """
        self.sessions = SessionService(db, clock, owners)
        self.keys = KeyService(db, clock)
