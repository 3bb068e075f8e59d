"""The ports of the owner's view: the models on the disk, the machine, and the settings, which the composition root knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bot.core.errors import Unavailable


class ModelState(StrEnum):
    """Whether a model's files are here. BUNDLED: they come with Easel. LOCAL: a folder or file of the operator's."""

    BUNDLED = "bundled"
    LOCAL = "local"
    HERE = "here"
    PART = "part"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class PullProgress:
    """A download of a model, running or ended.

    Attributes:
        name: What was asked for.
        done: Bytes that are here.
        total: Bytes in all; 0 while that is not known.
        running: Whether it goes on.
        problem: Why it ended, in one sentence; empty where it has not, or ended well.
        stopped: Whether an owner stopped it; what is here is kept.
        fetched: Bytes that it has downloaded, once it has ended well.
    """

    name: str
    done: int = 0
    total: int = 0
    running: bool = True
    problem: str = ""
    stopped: bool = False
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class LibraryModel:
    """A model that is known or whose files are on this disk.

    Attributes:
        name: What people type after ``--model``; for files that no model is known of, the repository.
        title: Its proper name; empty for such files.
        source: Hub id, folder or file.
        state: Whether its files are here.
        bytes: What they take of the disk.
        commit: The commit in use; empty where there is none.
        licence: SPDX identifier, or a name.
        terms: What an operator should know of the licence, each in a sentence.
        removable: Whether Easel may remove its files.
    """

    name: str
    title: str
    source: str
    state: ModelState
    bytes: int
    commit: str = ""
    licence: str = ""
    terms: Sequence[str] = ()
    removable: bool = False


@dataclass(frozen=True, slots=True)
class Library:
    """The models on the disk.

    Attributes:
        folder: Where they are.
        models: All that are known.
        pull: The last download; None where there was none since the start.
        problems: What is wrong with ``models.toml``, in sentences.
    """

    folder: str
    models: Sequence[LibraryModel]
    pull: PullProgress | None = None
    problems: Sequence[str] = ()


class ModelLibrary(Protocol):
    """The models on the disk, and downloads of others."""

    async def read(self, locale: str) -> Library:
        """Return what is here; sentences are in the language of ``locale``."""

    async def pull(self, name: str) -> None:
        """Begin to download a model, by a known name, a hub id or a file on a hub.

        Raises:
            BadInput: There is nothing to download for it.
            NotFound: No model is called so.
            Unavailable: Another download is under way.
        """

    async def stop_pull(self) -> None:
        """Stop the download that is under way, if one is; what is here is kept."""

    async def remove(self, name: str) -> int:
        """Remove a model's files; returns the bytes that were freed.

        Raises:
            NotFound: Nothing of it is here.
            NotAllowed: The service uses it.
        """


@dataclass(frozen=True, slots=True)
class Sensor:
    """A temperature: what was measured, and degrees Celsius."""

    name: str
    celsius: float


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A graphics card as its driver tells of it; memory in bytes, ``busy`` 0 to 1, power in watts; None: not known."""

    name: str
    memory_used: int | None = None
    memory_total: int | None = None
    busy: float | None = None
    celsius: float | None = None
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The machine.

    Attributes:
        system: Its system and architecture.
        python: Python's version.
        cpus: Number of CPU cores that this process may use.
        load: Mean number of runnable processes in the last minute; None where the system does not tell.
        memory_used: Bytes of main memory that can't be given to others.
        memory_total: Bytes of main memory; 0 where it is not known.
        service: Bytes of main memory of the service's process.
        sensors: Temperatures.
        gpus: Graphics cards.
    """

    system: str
    python: str
    cpus: int
    load: float | None
    memory_used: int
    memory_total: int
    service: int
    sensors: Sequence[Sensor] = ()
    gpus: Sequence[GpuFacts] = ()


class Machine(Protocol):
    """Looks at the machine."""

    async def facts(self) -> MachineFacts:
        """Return what is known of it; cheap, and never raises."""


class SettingSource(StrEnum):
    """Where a setting's value comes from."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    FILE = "file"
    SECRETS = "secrets"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting.

    Attributes:
        variable: Its environment variable.
        group: What it belongs to: ``easel``, or a platform's name.
        meaning: What it does, in one English sentence.
        value: Its value; empty where it is not set. Never a secret's.
        usual: Its default.
        source: Where the value comes from.
        secret: Whether it is a secret; then ``is_set`` is all that is told.
        is_set: Whether it has a value.
    """

    variable: str
    group: str
    meaning: str
    value: str
    usual: str
    source: SettingSource
    secret: bool
    is_set: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the console needs of the composition root.

    Attributes:
        library: The models on the disk.
        machine: The machine.
        settings: The settings, as they were read at the start.
        keep_free: Percentage of the disk that is kept free by removing old pictures; 0: off.
        version: Easel's version.
    """

    library: ModelLibrary
    machine: Machine
    settings: Sequence[Setting] = ()
    keep_free: float = 0.0
    version: str = ""


class NoLibrary:
    """A library without a disk, where the composition root gives none."""

    async def read(self, locale: str) -> Library:  # noqa: ARG002 - the port's
        """Nothing is known."""
        return Library("", ())

    async def pull(self, name: str) -> None:  # noqa: ARG002 - the port's
        """There is nowhere to download to."""
        raise Unavailable("unavailable.models")

    async def stop_pull(self) -> None:
        """Nothing is downloaded."""

    async def remove(self, name: str) -> int:  # noqa: ARG002 - the port's
        """There is nothing to remove."""
        raise Unavailable("unavailable.models")


class NoMachine:
    """A machine of which nothing is known."""

    async def facts(self) -> MachineFacts:
        """Nothing is known."""
        return MachineFacts("", "", 1, None, 0, 0, 0)
