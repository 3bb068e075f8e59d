"""Signs each picture where the operator has keys. A picture is never lost for its signature."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path

from bot.core.errors import BadInput
from bot.provenance.facts import Facts
from bot.provenance.reading import read_source_type
from bot.provenance.seal import Ingredient, Seal, SealUnavailable
from bot.settings import SealMode, Settings

FOLDER = "provenance"
"""Folder of the keys that ``easel provenance init`` makes, in the data folder."""

CHAIN, KEY, ROOT = "chain.pem", "key.pem", "root.pem"
"""Files in it: the signing certificate and the root, the signing key, and the root alone."""

STAMP_PAUSE = 300.0
"""Seconds without time stamps after the service did not answer."""

STAMP_SECONDS = 5.0
"""Longest wait for a time stamp. The package itself waits 30 seconds, and a picture would wait with it."""

log = logging.getLogger(__name__)


def load_seal(settings: Settings) -> Seal | None:
    """Return what signs pictures; None where the settings or a missing key turn it off. Blocks: reads files.

    Raises:
        BadInput: EASEL_PROVENANCE_C2PA is ``on``, or keys are there, and nothing can be signed with them.
    """
    if settings.provenance_c2pa is SealMode.OFF:
        return None
    folder = settings.data_dir / FOLDER
    wanted = settings.provenance_c2pa is SealMode.ON
    chain_path = settings.provenance_c2pa_cert or folder / CHAIN
    try:
        key = _key(settings, folder)
        if key is None or not chain_path.exists():
            if wanted:
                raise BadInput("refusal.seal.no_keys")
            return None
        seal = Seal(chain_path.read_bytes(), key, tsa=settings.provenance_c2pa_tsa)
        if wanted:
            seal.check()
        return seal
    except OSError as error:
        raise BadInput("refusal.seal.unusable", reason=error.strerror or str(error)) from None
    except SealUnavailable as error:
        if isinstance(error.__cause__, ImportError) and not wanted:
            # Keys without the package: everything else works, and doctor says so.
            log.warning("pictures are not signed: pip install 'easel[c2pa]'")
            return None
        raise BadInput("refusal.seal.unusable", reason=str(error)) from None


def _key(settings: Settings, folder: Path) -> bytes | None:
    given = settings.provenance_c2pa_key
    if given is None:
        path = folder / KEY
        return path.read_bytes() if path.exists() else None
    value = given.get_secret_value()
    return value.encode() if "-----BEGIN" in value else Path(value).expanduser().read_bytes()


class SignatureStatus(StrEnum):
    """How a file was signed.

    SIGNED: as it should be. UNSTAMPED: without the time stamp that the settings ask for. NO_SOURCES: without the pictures
    that it was drawn from. UNSIGNED: not at all.
    """

    SIGNED = "signed"
    UNSTAMPED = "unstamped"
    NO_SOURCES = "no_sources"
    UNSIGNED = "unsigned"


class Sealing:
    """Signs pictures by several threads; reports what could not be signed in the log, and never raises."""

    def __init__(
        self,
        seal: Seal,
        *,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[SignatureStatus], None] = lambda _: None,
        stamp_seconds: float = STAMP_SECONDS,
    ) -> None:
        """Args:
        seal: Signs.
        clock: Seconds.
        count: Told how each file was signed.
        stamp_seconds: Longest wait for a time stamp.
        """
        self._seal = seal
        self._clock = clock
        self._count = count
        self._stamp_seconds = stamp_seconds
        self._lock = threading.Lock()
        self._unstamped_until = 0.0

    def sign(self, data: bytes, mime: str, facts: Facts, sources: Sequence[Ingredient] = ()) -> bytes:
        """Return the signed file, or the file as it is where it can't be signed. Blocks: run in a thread.

        Where the time-stamping service does not answer, or not in time, pictures are signed without its stamp for
        STAMP_PAUSE seconds.
        Where a source can't be an ingredient, they are signed without sources.
        """

        def sign(sources: Sequence[Ingredient], stamped: bool) -> bytes:
            return self._seal.sign(data, mime, facts, sources, stamped=stamped)

        try:
            return self._signed(lambda stamped: sign(sources, stamped))
        except SealUnavailable as error:
            if not sources:
                return self._unsigned(data, error)
            log.warning("a picture is signed without its sources: %s", error)
        try:
            return self._signed(lambda stamped: sign((), stamped), SignatureStatus.NO_SOURCES)
        except SealUnavailable as error:
            return self._unsigned(data, error)

    def sign_copy(self, data: bytes, mime: str, original: bytes) -> bytes:
        """Sign a copy in another format or size, as ``sign``; a ``SignCopy``.

        Files that do not say that a model drew them, such as archives, are no copies of pictures: they stay.
        """
        source_type = read_source_type(original)
        if not source_type:
            return data
        try:
            return self._signed(
                lambda stamped: self._seal.sign_copy(data, mime, original, source_type, stamped=stamped)
            )
        except SealUnavailable as error:
            return self._unsigned(data, error)

    def _signed(self, sign: Callable[[bool], bytes], outcome: SignatureStatus = SignatureStatus.SIGNED) -> bytes:
        """Sign with a time stamp if there is a service, else without. Raises SealUnavailable where neither works."""
        with self._lock:
            stamped = self._seal.stamps and self._clock() >= self._unstamped_until
        problem: SealUnavailable | None = None
        if stamped:
            try:
                done = self._stamped(sign)
            except SealUnavailable as error:
                problem = error
            else:
                self._count(outcome)
                return done
        done = sign(False)
        if problem is not None:
            # It works without the stamp, so the service is at fault.
            with self._lock:
                self._unstamped_until = self._clock() + STAMP_PAUSE
            log.warning("no time stamp on signatures for %d s: %s", STAMP_PAUSE, problem)
        unstamped = self._seal.stamps and outcome is SignatureStatus.SIGNED
        self._count(SignatureStatus.UNSTAMPED if unstamped else outcome)
        return done

    def _stamped(self, sign: Callable[[bool], bytes]) -> bytes:
        """Sign with a time stamp. Raises SealUnavailable where that fails or takes too long."""
        answer: Future[bytes] = Future()

        def work() -> None:
            try:
                answer.set_result(sign(True))
            except Exception as error:  # noqa: BLE001 - it is raised to the thread that waits
                answer.set_exception(error)

        # A daemon, since the call can't be cancelled: the process need not wait for it at its end.
        threading.Thread(target=work, name="time-stamp", daemon=True).start()
        try:
            return answer.result(self._stamp_seconds)
        except TimeoutError:
            raise SealUnavailable(f"no answer within {self._stamp_seconds:g} s") from None

    def _unsigned(self, data: bytes, error: SealUnavailable) -> bytes:
        log.error("a picture was not signed: %s", error)
        self._count(SignatureStatus.UNSIGNED)
        return data
