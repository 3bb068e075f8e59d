from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from engine.families.z_image.spec import demo, z_image_turbo
from engine.hub import cache
from engine.hub.fetch import fetch, fetch_file
from engine.hub.needs import CONFIGS, WITHOUT_DENOISER, Need, disk_usage, needs, ready
from engine.hub.selection import WHOLE
from engine.spec import Lora, ModelSpec
from tests.fakes.hub import Hub
from tests.unit.engine.hub.conftest import REPO

BASE, FILE, LORA = "owner/base", "owner/name/model.safetensors", "owner/loras/style.safetensors"


def profile(source: str) -> ModelSpec:
    return ModelSpec(replace(z_image_turbo(), name="mine", source=source))


def test_a_hub_id_is_needed_whole() -> None:
    assert needs(profile(BASE)) == (Need(BASE, WHOLE),)


def test_a_single_file_needs_its_base_for_configs_alone() -> None:
    spec = replace(profile(FILE), base=BASE, loras=(Lora(LORA),))
    assert needs(spec) == (Need(BASE, CONFIGS, own=False), Need(FILE), Need(LORA))
    assert [need.repo for need in needs(spec)] == [BASE, "owner/name", "owner/loras"]


def test_a_transformer_alone_needs_everything_else_of_its_base() -> None:
    spec = replace(profile("owner/name"), base=BASE, transformer="owner/name/transformer.gguf")
    assert needs(spec) == (Need(BASE, WITHOUT_DENOISER, own=False), Need("owner/name/transformer.gguf"))


def test_what_is_on_the_disk_needs_no_hub(tmp_path: Path) -> None:
    assert needs(ModelSpec(demo())) == ()
    spec = replace(
        profile(str(tmp_path / "a.safetensors")), base=str(tmp_path), loras=(Lora(str(tmp_path / "b.safetensors")),)
    )
    assert needs(spec) == ()
    assert ready(spec, str(tmp_path))
    assert disk_usage(spec, str(tmp_path)) == 0


def test_a_model_is_ready_when_all_of_it_is_here(hub: Hub, models: str) -> None:
    spec = replace(profile(f"{REPO}/some-model.safetensors"), base=REPO)
    base, file = needs(spec)
    assert not ready(spec, models)
    fetch(base.source, models, lambda *_: None, selection=base.selection)
    assert not ready(spec, models)
    fetch_file(file.source, models, lambda *_: None)
    assert ready(spec, models)
    assert disk_usage(spec, models) == cache.disk_usage(REPO, models) > 1000
    assert not ready(profile(REPO), models)


def test_what_is_removed_is_gone_and_forgotten(hub: Hub, models: str) -> None:
    folder = fetch(REPO, models, lambda *_: None).path
    other = cache.storage(Path(models), "owner/other")
    (other / "blobs").mkdir(parents=True)
    assert cache.repos(models) == ("owner/other", REPO)
    here = cache.disk_usage(REPO, models)
    assert cache.remove(REPO, models) == here > 450_000
    assert not Path(folder).exists()
    assert cache.disk_usage(REPO, models) == 0
    assert cache.repos(models) == ("owner/other",)
    assert cache.remove(REPO, models) == 0
    assert {path.name for path in Path(models).iterdir()} >= {"pins.json", other.name}
    assert not [path for path in Path(models).rglob("*") if REPO.split("/")[1] in path.name]


def test_who_only_looks_needs_no_library_of_the_hub() -> None:
    code = "import sys, engine.hub.fetch, engine.hub.needs; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded).isdisjoint({"huggingface_hub", "httpx2", "torch", "diffusers", "transformers"})
