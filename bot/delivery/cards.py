"""The cards of jobs that delivery and the page show, made from a job's row and its live state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bot.cards import job_card
from bot.cards.i18n import text
from bot.cards.job_buttons import JobButton
from bot.core.access import Owners
from bot.core.cards import Card
from bot.core.jobs import Job
from bot.core.pictures import Picture
from bot.core.ports import QueuePosition
from bot.delivery.live import Live
from engine.contract import Engine


class JobPresenter:
    """Makes cards in the language of the person who asked."""

    def __init__(
        self, folder: Path, engine: Engine, live: Live, owners: Owners, buttons: Mapping[str, JobButton]
    ) -> None:
        """Args:
        folder: Where pictures are kept.
        engine: Has the models' titles and abilities, and the LoRAs' titles and trigger words.
        live: Says whether a job is stalled or preempted.
        owners: A held job's card says so when no owner is known who could let the person in.
        buttons: The buttons that cards of jobs can have, by action.
        """
        self._folder = folder
        self._engine = engine
        self._live = live
        self._owners = owners
        self._buttons = buttons

    def job(self, job: Job, pictures: Sequence[Picture], waiting: QueuePosition | None, progress: float | None) -> Card:
        """Return the card of a job as it is now; its pictures have the order of ``pictures``.

        Args:
            job: The job.
            pictures: Its stored pictures.
            waiting: Its position in the queue; None when it does not wait.
            progress: 0 to 1 while it is being drawn; None otherwise.
        """
        profile = next((p for p in self._engine.profiles() if p.name == job.request.model), None)
        return job_card.card_of(
            job,
            pictures,
            pictures_dir=self._folder,
            buttons=self._buttons,
            waiting=waiting,
            progress=progress,
            profile=profile,
            loras=self._engine.loras(),
            owned=bool(self._owners.everybody()),
            stalled=self._live.is_stalled(job.id),
            preempted=self._live.is_preempted(job.id),
        )

    def elsewhere(self, card: Card) -> Card:
        """Return the card with a note that it is shown in another chat than the request's."""
        return _with_note(card, "note.elsewhere")

    def without_pictures(self, card: Card, *, apart: bool) -> Card:
        """Return the card for a chat that takes no pictures; ``apart``: they are sent to the asker alone."""
        return replace(_with_note(card, "note.no_pictures.apart" if apart else "note.no_pictures"), pictures=())

    def unclear(self, job: Job) -> Card:
        """Return a text card: it is unknown whether the pictures arrived; its button sends them."""
        return job_card.unclear(job)


def _with_note(card: Card, key: str) -> Card:
    return replace(card, notes=(text(card.locale, key), *card.notes))
