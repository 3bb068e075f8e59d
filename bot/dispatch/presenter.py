"""What dispatch needs to have said: the cards it shows, made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bot.model.cards import Card
from bot.model.jobs import Job
from bot.model.pictures import Picture
from bot.ports import Waiting


class Presenter(Protocol):
    """Makes cards in the language of the person who asked."""

    def job(self, job: Job, pictures: Sequence[Picture], waiting: Waiting | None, progress: float | None) -> Card:
        """The card of a job as it is now; ``pictures`` and the card's own stand in the same order."""

    def unclear(self, job: Job) -> Card:
        """A text card: nobody knows whether the pictures arrived; its button sends them (again)."""
