"""The jobs that are being drawn, in memory: which of their pictures are done, have failed, or are in progress."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bot.core.jobs import Job
from bot.core.pictures import DrawnPicture
from engine.contract import Recipe


@dataclass(slots=True)
class ActiveJob:
    """A job that is being drawn. Its pictures end one by one: each is done, has failed, or was dropped with the job.

    Attributes:
        job: Its row.
        recipes: One for each of its pictures.
        done: Pictures that are on the disk, by index.
        failed: Catalogue keys of the reasons, by index.
        painting: Indexes of the pictures that are with the engine.
        slots: Id of the slot of each picture that was handed over, by index.
        lost: Indexes of the pictures that a slot was lost with and that do not wait again yet.
        writing: Indexes of the pictures that are drawn and being stored.
        cancelled: Nothing of it is kept.
        shown_at: When its progress was last shown, by the monotonic clock.
        step_times: When each picture took its last step, by the monotonic clock.
        drawn_at: When its last picture so far was drawn, by the monotonic clock.
    """

    job: Job
    recipes: tuple[Recipe, ...]
    done: dict[int, DrawnPicture] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    painting: set[int] = field(default_factory=set)
    slots: dict[int, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    writing: set[int] = field(default_factory=set)
    cancelled: bool = False
    shown_at: float = 0.0
    step_times: dict[int, float] = field(default_factory=dict)
    drawn_at: float = 0.0

    def is_complete(self) -> bool:
        """Whether every picture is done or has failed."""
        return len(self.done) + len(self.failed) == len(self.recipes)

    def is_idle(self) -> bool:
        """Whether none of its pictures is with the engine or being stored."""
        return not self.painting and not self.writing

    def is_paused(self, since: float) -> bool:
        """Whether it was begun, pictures remain, and none has taken a step at ``since`` or later."""
        return bool(self.step_times) and max(self.step_times.values()) < since and bool(self.remaining())

    def remaining(self) -> tuple[int, ...]:
        """Return the pictures that are not done, have not failed, and are not being stored."""
        ended: Collection[int] = self.done.keys() | self.failed.keys() | self.writing
        return tuple(i for i in range(len(self.recipes)) if i not in ended)


class ActiveJobs(dict[int, ActiveJob]):
    """The jobs that were begun and have not ended, by id; some wait again with part of their pictures done."""

    def __init__(self) -> None:
        super().__init__()
        self._claiming: frozenset[int] = frozenset()

    @contextmanager
    def claiming(self, job_ids: Iterable[int]) -> Iterator[None]:
        """These jobs are out of the queue and being claimed in the database, until the block ends."""
        self._claiming = frozenset(job_ids)
        try:
            yield
        finally:
            self._claiming = frozenset()

    def is_claiming(self, job_id: int) -> bool:
        """Whether pictures of the job are out of the queue and not with a slot yet."""
        return job_id in self._claiming

    def owns(self, job_id: int) -> bool:
        """Whether the job was taken out of the queue and has not ended."""
        return job_id in self or job_id in self._claiming
