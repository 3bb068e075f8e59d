"""The table of platforms: a line in it is all that a new platform needs here."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from adapters.cli import doctor, environment, main, platforms, serve
from adapters.cli.wiring import opened
from bot.core.access import AccessMode
from bot.core.errors import BadInput
from bot.core.messages import EventRef
from bot.core.people import Actor, Place
from bot.core.requests import DrawForm
from bot.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.fakes.platform import CarrierService, CarrierSettings

ROOT = Path(__file__).parents[4]
CLI = ROOT / "adapters" / "cli"


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One more line in the table, and a folder without any settings but its own."""
    more = {**platforms.TABLE, "carrier": "tests.fakes.platform"}
    monkeypatch.setattr(platforms, "TABLE", MappingProxyType(more))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EASEL_DEVICE", "cpu")
    monkeypatch.setenv("EASEL_WEB_PORT", "0")


@pytest.mark.parametrize("name", platforms.names())
def test_no_module_of_the_command_line_names_a_platform_but_the_table(name: str) -> None:
    # `easel mcp` serves the page's tools on standard input and output.
    tools = CLI / "mcp.py"
    named = [
        path.name
        for path in sorted(CLI.rglob("*.py"))
        if re.search(rf"""["'.]{name}["'.]""", path.read_text(encoding="utf-8"))
        and path.parent.name != "benchmark"
        and path != tools
    ]
    assert named == ["platforms.py"]


def test_each_line_names_its_own_platform() -> None:
    found = platforms.all_platforms()
    assert tuple(one.name for one in found) == platforms.names()
    assert len({one.title for one in found}) == len(found)
    for one in found:
        assert one.variable in {one.settings.variable(name) for name in one.settings.model_fields}


def test_no_library_of_a_platform_is_imported_with_the_table() -> None:
    code = "import sys; from adapters.cli import environment; environment.load(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"discord", "aiogram", "aiohttp"}.isdisjoint(done.stdout.split())


@pytest.mark.usefixtures("carrier")
def test_its_settings_are_read_and_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("EASEL_CARRIER_TOKEN=r1ng-of-a-pigeon\nEASEL_CARRIER_LOFTS=3\n", encoding="utf-8")
    app = environment.load()
    one = app.platforms[-1]
    assert isinstance(one.settings, CarrierSettings)
    assert (one.enabled, one.settings.lofts) == (True, 3)
    assert app.access() == {"carrier": AccessMode.LIST}
    assert "r1ng-of-a-pigeon" in app.secrets()
    monkeypatch.setenv("EASEL_CARRIER_LOFTS", "none-at-all")
    monkeypatch.setenv("EASEL_CARRIER_OWNERS", "@ada")
    with pytest.raises(BadInput) as refused:
        environment.load()
    problems = str(refused.value.params["problems"])
    assert "EASEL_CARRIER_LOFTS" in problems
    assert "EASEL_CARRIER_OWNERS" in problems
    assert "none-at-all" not in problems


@pytest.mark.usefixtures("carrier")
def test_the_doctor_runs_its_checks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def no_devices(_: Settings) -> doctor.Finding:
        return doctor.Finding("torch", False, "nobody looked")

    monkeypatch.setattr(doctor, "_probe", no_devices)

    def checks() -> dict[str, dict[str, object]]:
        main.run(["doctor", "--json"])
        return {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}

    found = checks()
    assert found["carrier"]["found"] == "off (no EASEL_CARRIER_TOKEN)"
    assert (found["lofts"]["ok"], found["lofts"]["found"]) == (False, "Easel's page: loft 1")
    monkeypatch.setenv("EASEL_CARRIER_TOKEN", "r1ng")
    assert checks()["carrier"]["found"] == "the platform knows this bot as @pigeon"


@pytest.mark.usefixtures("carrier")
async def test_the_service_builds_starts_runs_and_stops_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EASEL_CARRIER_TOKEN", "r1ng")
    monkeypatch.setenv("EASEL_CARRIER_ACCESS", "open")
    app = environment.load()
    stop = asyncio.Event()
    async with opened(app, lambda _: FakeEngine()) as easel:
        (service,) = easel.services
        assert isinstance(service, CarrierService)
        assert service.context.studio is easel.studio
        assert service.calls == ["start"]
        serve._announce(easel, app)
        run = asyncio.create_task(easel.run(stop))
        async with asyncio.timeout(20):
            while service.calls != ["start", "run"]:  # noqa: ASYNC110 - the fake tells nobody
                await asyncio.sleep(0)
        with pytest.raises(BadInput) as refused:  # its own limit: two pictures a request
            await easel.studio.draw(
                Actor("carrier", "7"),
                Place("carrier", None, "loft"),
                DrawForm("a red apple", count="3"),
                EventRef("carrier:1"),
            )
        assert refused.value.params["most"] == 2
        stop.set()
        assert await run == 0
    assert service.calls == ["start", "run", "stop"]
    said = capsys.readouterr().out
    assert "Discord: off (no EASEL_DISCORD_TOKEN)." in said
    assert "Carrier pigeons: on." in said


@pytest.mark.usefixtures("carrier")
def test_the_command_line_takes_it_as_a_platform(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["quota", "set", "5/day", "--platform", "carrier", "--person", "not-a-number"]) == 0
    assert "platform carrier" in capsys.readouterr().out


@pytest.mark.usefixtures("carrier")
def test_serve_without_any_platform_names_its_switch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["serve"]) == 2
    assert "EASEL_CARRIER_TOKEN, EASEL_DISCORD_TOKEN, EASEL_TELEGRAM_TOKEN, EASEL_WEB_PORT" in capsys.readouterr().err
