"""The engine of the settings: which slots there are, and which models each of them draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adapters.cli.engines import describing, engine_of, server_of_one_model
from bot.core.errors import BadInput
from bot.settings import EngineKind, Settings
from engine.contract import Engine, UnknownModel

SERVER = "comfy:http://10.0.0.5:8188"


def settings(folder: Path, *devices: str, model: str = "demo", engine: EngineKind = EngineKind.PROCESS) -> Settings:
    return Settings(_env_file=None, data_dir=folder, device=devices, model=model, engine=engine)


def models(engine: Engine) -> list[str]:
    return [profile.name for profile in engine.profiles()]


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """Easel's own workflow of SDXL, in the operator's folder."""
    folder = tmp_path / "comfy"
    folder.mkdir()
    shipped = Path("engine/comfy/workflows/sdxl.json").read_text(encoding="utf-8")
    path = folder / "sdxl.json"
    path.write_text(shipped.replace("{prompt}", "masterpiece, {prompt}"), encoding="utf-8")
    return path


def test_a_server_alone_draws_what_has_a_workflow(tmp_path: Path) -> None:
    engine = engine_of(settings(tmp_path, SERVER))
    assert [slot.id for slot in engine.slots()] == ["comfy:10.0.0.5:8188"]
    assert models(engine) == ["z-image-turbo", "sdxl", "sd15"]
    assert not any(profile.can or profile.samplers or profile.expands for profile in engine.profiles())
    assert engine.loras() == ()
    # What needs more than a prompt fails there, and does not wait for a slot that is not there.
    assert engine.slots()[0].can_draw("sdxl", plain=False)


@pytest.mark.parametrize("model", ["sd15", "Stable-Diffusion-V1-5/stable-diffusion-v1-5"])
def test_the_default_model_of_a_server_is_the_one_of_the_settings(tmp_path: Path, model: str) -> None:
    assert models(engine_of(settings(tmp_path, SERVER, model=model)))[0] == "sd15"
    assert models(server_of_one_model(settings(tmp_path, SERVER), model)) == ["sd15"]
    with pytest.raises(UnknownModel, match=r"EASEL_MODEL is 'flux'.*sdxl.*comfy/<model>\.json"):
        engine_of(settings(tmp_path, SERVER, model="flux"))


def test_beside_a_device_each_draws_its_own_models(tmp_path: Path) -> None:
    engine = engine_of(settings(tmp_path, "cpu", SERVER))
    here, there = engine.slots()
    assert (here.id, there.id) == ("cpu", "comfy:10.0.0.5:8188")
    assert models(engine) == ["demo", "z-image-turbo", "sdxl", "sd15"]
    assert here.models == {"demo"}
    assert there.models == {"z-image-turbo", "sdxl", "sd15"}
    assert engine.profiles()[0].can


def test_a_model_of_both_keeps_what_this_machine_can_do_with_it(tmp_path: Path) -> None:
    engine = engine_of(settings(tmp_path, "cpu", "cpu", SERVER, model="sdxl"))
    sdxl = engine.profiles()[0]
    assert (sdxl.name, bool(sdxl.can), bool(sdxl.samplers)) == ("sdxl", True, True)
    assert [slot.id for slot in engine.slots()] == ["cpu:0", "cpu:1", "comfy:10.0.0.5:8188"]
    # It is given none of the recipes of which it can do a part alone.
    assert [slot.can_draw("sdxl", plain=False) for slot in engine.slots()] == [True, True, False]
    assert all(slot.can_draw("sdxl") for slot in engine.slots())


def test_the_operators_workflow_is_read_and_a_bad_one_is_said(
    tmp_path: Path, workflow: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert models(engine_of(settings(tmp_path, SERVER))) == ["z-image-turbo", "sdxl", "sd15"]
    workflow.write_text("{}", encoding="utf-8")
    assert models(engine_of(settings(tmp_path, SERVER))) == ["z-image-turbo", "sd15"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{workflow}: it is no workflow in ComfyUI's API format" in said


def test_commands_know_the_models_of_servers_too(tmp_path: Path) -> None:
    assert models(describing(settings(tmp_path, "cpu", SERVER))) == ["demo", "z-image-turbo", "sdxl", "sd15"]
    assert models(describing(settings(tmp_path, "cpu"))) == ["demo"]


def test_servers_are_not_combined_with_a_ray_cluster(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        engine_of(settings(tmp_path, SERVER, engine=EngineKind.RAY))
    assert refused.value.key == "cli.comfy.ray"


def test_without_a_server_its_client_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from adapters.cli import wiring, doctor, draw; from bot.settings import Settings;"
        "wiring.engine_of(Settings(_env_file=None, data_dir=Path(sys.argv[1]), device=('cpu',)));"
        "print(sorted(name for name in sys.modules if name == 'aiohttp' or name.startswith('engine.comfy')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
