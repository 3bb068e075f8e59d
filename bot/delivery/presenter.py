"""The cards that dispatch shows, with what their makers need besides the job itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bot.cards import job_card
from bot.cards.i18n import text
from bot.cards.job_buttons import JobButton
from bot.core.cards import Card
from bot.core.jobs import Job
from bot.core.pictures import Picture
from bot.core.ports import QueuePosition
from engine.contract import Profile


class JobPresenter:
    """Makes cards in the language of the person who asked."""

    def __init__(
        self,
        folder: Path,
        profiles: Callable[[], Sequence[Profile]],
        *,
        buttons: Mapping[str, JobButton],
        owned: Callable[[], bool] = lambda: True,
        stalled: Callable[[int], bool] = lambda _job_id: False,
        preempted: Callable[[int], bool] = lambda _job_id: False,
    ) -> None:
        """Args:
        folder: Where pictures are kept.
        profiles: The models, for their proper names and what they can do.
        buttons: What buttons cards of jobs have, by action.
        owned: Whether anybody is known who can let newcomers in.
        stalled: Whether what is drawn of a job waits until it can be stored.
        preempted: Whether a job that was begun takes no steps while the engine draws others.
        """
        self._folder = folder
        self._profiles = profiles
        self._buttons = buttons
        self._owned = owned
        self._stalled = stalled
        self._preempted = preempted

    def job(self, job: Job, pictures: Sequence[Picture], waiting: QueuePosition | None, progress: float | None) -> Card:
        """The card of a job as it is now; its pictures stand in the same order as ``pictures``."""
        profile = next((p for p in self._profiles() if p.name == job.request.model), None)
        return job_card.card_of(
            job,
            pictures,
            pictures_dir=self._folder,
            buttons=self._buttons,
            waiting=waiting,
            progress=progress,
            profile=profile,
            owned=self._owned(),
            stalled=self._stalled(job.id),
            preempted=self._preempted(job.id),
        )

    def elsewhere(self, card: Card) -> Card:
        """The same card in another chat than the one where it was asked for."""
        return _noted(card, "note.elsewhere")

    def without_pictures(self, card: Card, *, apart: bool) -> Card:
        """The same card for a chat that takes no pictures; ``apart``: they are sent to the asker alone."""
        return replace(_noted(card, "note.no_pictures.apart" if apart else "note.no_pictures"), pictures=())

    def unclear(self, job: Job) -> Card:
        """A text card: nobody knows whether the pictures arrived; its button sends them."""
        return job_card.unclear(job)


def _noted(card: Card, key: str) -> Card:
    return replace(card, notes=(text(card.locale, key), *card.notes))
