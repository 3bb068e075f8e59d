from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from engine.families.generic.signature import Signature, base_name, is_library, sibling, signature_of

ROOT = Path(__file__).parents[5]


def of(name: str) -> Signature:
    found = signature_of(name)
    assert found is not None
    return found


def test_it_is_read_without_importing_anything() -> None:
    code = (
        "import sys; from engine.families.generic.signature import signature_of;"
        "assert signature_of('FluxPipeline').takes('prompt', 'guidance_scale');"
        "sys.exit(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["FluxPipeline", "Flux2KleinPipeline", "QwenImagePipeline", "LongCatImageEditPipeline"]
)
def test_it_agrees_with_the_class(name: str) -> None:
    import diffusers  # noqa: PLC0415

    made = getattr(diffusers, name)
    found = of(name)
    call = {n: p for n, p in inspect.signature(made.__call__).parameters.items() if n != "self"}
    assert list(found.arguments) == list(call)
    for argument, default in found.arguments.items():
        if default is not None:
            assert default == call[argument].default
    init = {n: p for n, p in inspect.signature(made.__init__).parameters.items() if n != "self"}
    assert found.parts == {n for n, p in init.items() if p.default is inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("name", "pausable", "calls_back", "draws"),
    [
        ("QwenImagePipeline", True, True, True),
        ("LongCatImagePipeline", True, False, True),  # in its scheduler
        ("FluxPriorReduxPipeline", False, False, True),
        ("WanPipeline", True, True, False),  # videos
        ("AudioLDM2Pipeline", True, False, False),
        ("UnconditionalNothing", None, None, None),
        ("no name", None, None, None),
    ],
)
def test_what_can_be_paused_and_draws(
    name: str, *, pausable: bool | None, calls_back: bool | None, draws: bool | None
) -> None:
    found = signature_of(name)
    assert (found and (found.pausable, found.calls_back, found.draws)) == (
        None if pausable is None else (pausable, calls_back, draws)
    )


def test_a_class_without_a_call_has_that_of_the_class_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text(
        "class TopPipeline(DiffusionPipeline):\n"
        "    def __init__(self, vae, unet=None): pass\n"
        "    def __call__(self, prompt, steps: int = 3, *, callback_on_step_end=None): pass\n"
        "class LowPipeline(TopPipeline):\n"
        "    def __init__(self, vae, transformer): pass\n"
        "class StrangePipeline(GonePipeline): pass\n"
    )
    files = dict.fromkeys(("TopPipeline", "LowPipeline", "StrangePipeline"), tmp_path / "one.py")
    monkeypatch.setattr("engine.families.generic.signature._files", lambda: files)
    low = of("LowPipeline")
    assert dict(low.arguments) == {"prompt": None, "steps": 3, "callback_on_step_end": None}
    assert low.parts == {"vae", "transformer"}
    assert of("TopPipeline").parts == {"vae"}
    assert not of("StrangePipeline").draws


def test_classes_that_start_from_a_picture() -> None:
    parts = of("StableDiffusion3Pipeline").parts
    for kind in ("Img2Img", "Inpaint"):
        found = sibling("StableDiffusion3Pipeline", kind, parts)
        assert found is not None
        assert found.name == f"StableDiffusion3{kind}Pipeline"
        assert base_name(found.name) == "StableDiffusion3Pipeline"
        assert sibling("StableDiffusion3Pipeline", kind, parts - {"tokenizer_3"}) is None
    assert sibling("HiDreamImagePipeline", "Img2Img", of("HiDreamImagePipeline").parts) is None
    assert base_name("HiDreamImagePipeline") == "HiDreamImagePipeline"
    assert base_name("NothingImg2ImgPipeline") == "NothingImg2ImgPipeline"


@pytest.mark.parametrize("name", ["diffusers", "transformers", "kolors"])
def test_a_library(name: str) -> None:
    assert is_library(name)


@pytest.mark.parametrize("name", ["trap", "pipeline.py", "../kolors", "", "os"])
def test_no_library(name: str) -> None:
    assert not is_library(name)


@pytest.mark.slow
def test_every_sibling_of_diffusers_own_table_is_found() -> None:
    from diffusers.pipelines import auto_pipeline  # noqa: PLC0415

    tables = {"Img2Img": "AUTO_IMAGE2IMAGE_PIPELINES_MAPPING", "Inpaint": "AUTO_INPAINT_PIPELINES_MAPPING"}
    draws = {key: made.__name__ for key, made in auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.items()}
    missed = []
    for kind, table in tables.items():
        for key, made in getattr(auto_pipeline, table).items():
            plain, signature = draws.get(key), signature_of(made.__name__)
            needed = ("image", "strength") if kind == "Img2Img" else ("image", "mask_image")
            if plain is None or plain == made.__name__ or signature is None or "control" in key:
                continue
            if signature.pausable and signature.takes(*needed):
                found = sibling(plain, kind, of(plain).parts | signature.parts)
                if found is None or found.name != made.__name__:
                    missed.append((plain, made.__name__))
    # Kandinsky's consist of two pipelines each; DeepFloyd IF's has a name of its own.
    assert {made for _, made in missed if "Kandinsky" not in made} == {"IFInpaintingPipeline"}
