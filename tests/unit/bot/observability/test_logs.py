"""No secret reaches a log line, in whatever way it got into the record."""

from __future__ import annotations

import io
import json
import logging
import warnings
from urllib.parse import quote

import pytest

from bot.observability import logs
from bot.settings import LogFormat, Settings

TELEGRAM = "123456789:AAF-secret_telegram_token"
DISCORD = "MTk4.Gx.secret-discord-token"
PASSWORD = 'p:ss/w"rd!'


def settings(form: LogFormat = LogFormat.CONSOLE) -> Settings:
    return Settings(
        _env_file=None,
        proxy=f"http://user:{quote(PASSWORD, safe='')}@proxy:8080",
        log_format=form,
    )


@pytest.mark.parametrize("form", list(LogFormat))
def test_secrets_are_redacted_in_every_part_of_a_record(form: LogFormat) -> None:
    stream = io.StringIO()
    logs.configure(settings(form), more_secrets=[TELEGRAM, DISCORD, "hf_secret_token"], stream=stream)
    log = logging.getLogger("some.library")
    log.info("GET https://api.telegram.org/bot%s/getMe", TELEGRAM)
    log.info("quoted %s", quote(TELEGRAM, safe=""))
    log.info("extra", extra={"url": f"https://x/{DISCORD}"})
    log.warning("hub: %r", {"token": "hf_secret_token"})
    log.info("proxy http://user:%s@proxy", quote(PASSWORD, safe=""))
    try:
        try:
            raise ValueError(f"inner {TELEGRAM}")
        except ValueError as e:
            raise RuntimeError(f"outer {DISCORD}") from e
    except RuntimeError:
        log.exception("failed", stack_info=True)
    written = stream.getvalue()
    for secret in (TELEGRAM, DISCORD, quote(TELEGRAM, safe=""), "hf_secret_token", quote(PASSWORD, safe="")):
        assert secret not in written
    assert written.count(logs.REDACTED) >= 6
    assert "RuntimeError" in written
    if form is LogFormat.JSON:
        assert all("message" in json.loads(line) for line in written.splitlines())


def test_the_decoded_password_of_a_proxy_is_redacted_too() -> None:
    stream = io.StringIO()
    logs.configure(settings(), stream=stream)
    logging.getLogger().error("refused: %s", PASSWORD)
    assert PASSWORD not in stream.getvalue()


def test_level_and_warnings() -> None:
    stream = io.StringIO()
    quiet = settings().model_copy(update={"log_level": "WARNING"})
    logs.configure(quiet, stream=stream)
    logging.getLogger("x").info("not said")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("something is old", stacklevel=1)
    assert "not said" not in stream.getvalue()
    assert len(logging.getLogger().handlers) == 1


def test_short_secrets_are_not_redacted() -> None:
    redacting = logs.RedactingFormatter(logging.Formatter("%(message)s"), ["", "ab"])
    record = logging.LogRecord("x", logging.INFO, "", 0, "a cab", None, None)
    assert redacting.format(record) == "a cab"


def test_settings_without_secrets_have_none() -> None:
    assert set(logs.secrets_of(Settings(_env_file=None))) == set()


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def bounded(stream: io.StringIO, clock: Clock) -> logging.Logger:
    log = logging.getLogger("easel.test.bounded")
    log.handlers[:] = [logs.BurstLimitHandler(stream, clock)]
    log.propagate = False
    log.setLevel(logging.INFO)
    return log


def test_one_fault_cannot_fill_the_log() -> None:
    stream, clock = io.StringIO(), Clock()
    log = bounded(stream, clock)
    for number in range(10_000):
        try:
            raise OSError(24, "Too many open files")
        except OSError:
            # asyncio puts the whole story into the message, with numbers that change.
            log.exception("socket.accept() out of system resource\nsocket: fd=%d" % number)  # noqa: G002, UP031
        log.error("another fault %d", number)
    written = stream.getvalue()
    assert written.count("out of system resource") == written.count("another fault") == logs.BURST
    assert written.count("are left out for 60 s") == 2
    log.info("routine")
    assert stream.getvalue().endswith("routine\n")
    clock.time += logs.BURST_SECONDS
    log.info("routine again")
    rest = stream.getvalue().removeprefix(written)
    assert f"{10_000 - logs.BURST} lines like this one were left out: socket.accept() out of system resource\n" in rest
    assert rest.endswith("routine again\n")
    log.error("another fault %d", 7)
    assert stream.getvalue().endswith("another fault 7\n")


def test_info_lines_are_not_limited() -> None:
    stream = io.StringIO()
    log = bounded(stream, Clock())
    for number in range(500):
        log.info("picture %d is done", number)
    assert stream.getvalue().count("is done") == 500
