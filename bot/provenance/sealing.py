"""Signs each picture where the operator has keys. A picture is never lost for its signature."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bot.core.errors import BadInput
from bot.provenance.facts import Facts
from bot.provenance.seal import Seal, SealUnavailable
from bot.settings import SealMode, Settings

FOLDER = "provenance"
"""Folder of the keys that ``easel provenance init`` makes, in the data folder."""

CHAIN, KEY, ROOT = "chain.pem", "key.pem", "root.pem"
"""Files in it: the signing certificate and the root, the signing key, and the root alone."""

STAMP_PAUSE = 300.0
"""Seconds without time stamps after the service did not answer."""

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
        return Seal(chain_path.read_bytes(), key, tsa=settings.provenance_c2pa_tsa)
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


class Sealing:
    """Signs pictures by several threads; reports what could not be signed in the log, and never raises."""

    def __init__(self, seal: Seal, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        seal: Signs.
        clock: Seconds.
        """
        self._seal = seal
        self._clock = clock
        self._lock = threading.Lock()
        self._unstamped_until = 0.0

    def sign(self, data: bytes, mime: str, facts: Facts, sources: Sequence[Path] = ()) -> bytes:
        """Return the signed file, or the file as it is where it can't be signed. Blocks: run in a thread.

        Where the time-stamping service does not answer, pictures are signed without its stamp for STAMP_PAUSE seconds.
        """
        there = [path for path in sources if path.is_file()]
        with self._lock:
            stamped = self._seal.stamps and self._clock() >= self._unstamped_until
        if stamped:
            try:
                return self._seal.sign(data, mime, facts, there)
            except SealUnavailable as error:
                with self._lock:
                    self._unstamped_until = self._clock() + STAMP_PAUSE
                log.warning("no time stamp on signatures for %d s: %s", STAMP_PAUSE, error)
        try:
            return self._seal.sign(data, mime, facts, there, stamped=False)
        except SealUnavailable as error:
            log.error("a picture was not signed: %s", error)
            return data
