"""ComfyUI's graphs: which sampler drew the picture, and from what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.provenance.comfyui import MAX_NODES, base_name, parse


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


TWO_PASSES = {
    "3": node(
        "KSampler", seed=156680208700286, steps=20, cfg=8, sampler_name="dpmpp_2m", scheduler="karras", denoise=1,
        model=["11", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
    ),
    "4": node("CheckpointLoaderSimple", ckpt_name="sdxl\\sd_xl_base_1.0.safetensors"),
    "5": node("EmptyLatentImage", width=832, height=1216, batch_size=1),
    "6": node("CLIPTextEncode", text="a cat on a sofa", clip=["11", 1]),
    "7": node("CLIPTextEncode", text=["20", 0], clip=["11", 1]),
    "8": node("VAEDecode", samples=["13", 0], vae=["4", 2]),
    "9": node("SaveImage", images=["8", 0], filename_prefix="ComfyUI", is_changed=[float("nan")]),
    "10": node("LatentUpscale", samples=["3", 0], width=1664, height=2432),
    "11": node("LoraLoader", lora_name="styles/ink.safetensors", strength_model=0.7, strength_clip=1, model=["12", 0], clip=["12", 1]),
    "12": node("LoraLoader", lora_name="oil.safetensors", strength_model=-0.5, strength_clip=1, model=["4", 0], clip=["4", 1]),
    "13": node(
        "KSampler", seed=1, steps=10, cfg=6, sampler_name="euler", scheduler="normal", denoise=0.5,
        model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["10", 0],
    ),
    "20": node("PrimitiveString", value="blurry"),
}  # fmt: skip

FLUX = {
    "5": node("EmptySD3LatentImage", width=["30", 0], height=["31", 0], batch_size=1),
    "6": node("CLIPTextEncode", text="a fox", clip=["11", 0]),
    "13": node(
        "SamplerCustomAdvanced",
        noise=["25", 0],
        guider=["22", 0],
        sampler=["16", 0],
        sigmas=["17", 0],
        latent_image=["5", 0],
    ),
    "16": node("KSamplerSelect", sampler_name="euler"),
    "17": node("BasicScheduler", scheduler="simple", steps=28, denoise=1, model=["12", 0]),
    "22": node("BasicGuider", model=["12", 0], conditioning=["26", 0]),
    "25": node("RandomNoise", noise_seed=2**64 - 1),
    "26": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
    "12": node("UNETLoader", unet_name="flux1-dev.sft"),
    "30": node("PrimitiveInt", value=1024),
    "31": node("PrimitiveInt", value=768),
    "40": node("VAEDecode", samples=["13", 0]),
    "41": node("PreviewImage", images=["40", 0]),
}

STARTED = {
    "1": node("LoadImage", image="cat.png"),
    "2": node("VAEEncode", pixels=["1", 0]),
    "3": node(
        "KSampler (Efficient)", seed=["9", 0], steps=12, cfg=4.5, sampler_name="euler_ancestral", scheduler="karras", denoise=0.6,
        model=["4", 0], positive=["5", 0], negative=["5", 1], latent_image=["2", 0],
    ),
    "4": node("CheckpointLoaderSimple", ckpt_name="v1-5.ckpt"),
    "5": node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=0.8),
    "6": node("ConditioningCombine", conditioning_1=["60", 0], conditioning_2=["61", 0]),
    "60": node("CLIPTextEncode", text="a cat"),
    "61": node("CLIPTextEncodeSDXL", text_g="in a hat", text_l="in a hat"),
    "7": node("CLIPTextEncode", text="a dog"),
    "9": node("Seed (rgthree)", seed=77),
    "8": node("Power Lora Loader (rgthree)", lora_1={"on": True, "lora": "a.safetensors", "strength": 0.5}),
    "10": node("VAEDecode", samples=["3", 0]),
    "11": node("SaveImage", images=["10", 0]),
}  # fmt: skip


def test_the_first_of_two_passes_counts() -> None:
    read = parse(json.dumps(TWO_PASSES))
    assert read is not None
    assert (read.prompt, read.negative) == ("a cat on a sofa", "blurry")
    assert (read.seed, read.steps, read.guidance, read.width, read.height) == (156680208700286, 20, 8.0, 832, 1216)
    assert (read.model, read.sampler) == ("sd_xl_base_1.0", "dpmpp_2m Karras")
    assert read.loras == (("oil", -0.5), ("ink", 0.7))
    assert (read.tool, read.enlarged, read.strength) == ("ComfyUI", True, None)


def test_a_graph_with_a_guider() -> None:
    read = parse(json.dumps(FLUX))
    assert read is not None
    assert (read.prompt, read.negative, read.guidance, read.steps, read.sampler) == ("a fox", "", 3.5, 28, "euler")
    assert (read.seed, read.width, read.height, read.model) == (2**64 - 1, 1024, 768, "flux1-dev")


def test_a_graph_that_starts_from_a_picture() -> None:
    read = parse(json.dumps(STARTED))
    assert read is not None
    assert (read.prompt, read.negative) == ("a cat, in a hat", "a dog")
    assert (read.seed, read.strength, read.controlled, read.width) == (77, 0.6, True, None)


def test_the_editors_graph_where_there_is_no_other() -> None:
    workflow = {
        "nodes": [
            {"id": 3, "type": "KSampler", "widgets_values": [5, "randomize", 9, 2, "euler", "normal", 1],
             "inputs": [{"name": "model", "link": 1}, {"name": "positive", "link": 2}, {"name": "negative", "link": 3},
                        {"name": "latent_image", "link": 4}]},
            {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["m.safetensors"]},
            {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 640, 1]},
            {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a cat"]},
            {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["a dog"]},
            {"id": 8, "type": "KSampler", "mode": 4, "widgets_values": [1, "fixed", 1, 1, "euler", "normal", 1]},
        ],
        "links": [[1, 4, 0, 3, 0, "MODEL"], [2, 6, 0, 3, 1, "CONDITIONING"], [3, 7, 0, 3, 2, "CONDITIONING"], [4, 5, 0, 3, 3, "LATENT"]],
    }  # fmt: skip
    read = parse("", json.dumps(workflow))
    assert read is not None
    assert (read.prompt, read.negative, read.seed, read.steps, read.guidance) == ("a cat", "a dog", 5, 9, 2.0)
    assert (read.width, read.height, read.model) == (512, 640, "m")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "1", "null", '{"1": {}}', '{"1": {"inputs": []}}', "[" * 100_000, '{"a":' * 300]
)
def test_what_is_no_graph_is_none(text: str) -> None:
    assert parse(text, text) is None


def test_circles_and_huge_graphs_end() -> None:
    circle = {
        str(one): node("KSampler", seed=1, model=[str(one + 1), 0], positive=[str(one), 1], negative=[str(one - 1), 1],
                       latent_image=[str((one + 7) % 3000), 0], text=[str(one + 2), 0], conditioning=[str(one + 3), 0])
        for one in range(3000)
    }  # fmt: skip
    assert len(circle) > MAX_NODES
    for kind in ("KSampler", "SaveImage"):
        parse(json.dumps(circle | {"end": node(kind, images=["0", 0])}))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a/b.safetensors", "b"),
        ("a\\b.ckpt", "b"),
        ("sd_xl_base_1.0", "sd_xl_base_1.0"),
        (".safetensors", ".safetensors"),
        ("", ""),
    ],
)
def test_names_of_files(file: str, name: str) -> None:
    assert base_name(file) == name


NAMES = st.sampled_from(["model", "positive", "negative", "latent_image", "seed", "noise", "steps", "cfg", "text", "guider", "sampler",
                         "sigmas", "width", "height", "pixels", "images", "sampler_name", "denoise", "guidance", "lora_name",
                         "lora_1", "ckpt_name", "conditioning"])  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.tuples(st.sampled_from("1234"), st.integers(0, 2)),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["on", "lora", "strength"]), inner, max_size=3)
    ),
    max_leaves=4,
)
GRAPHS = st.dictionaries(
    st.sampled_from("1234"),
    st.fixed_dictionaries(
        {
            "class_type": st.sampled_from(["KSampler", "SaveImage", "ConditioningZeroOut", "", 1]),
            "inputs": st.dictionaries(NAMES, VALUES),
        }
    ),
)


@given(GRAPHS)
def test_hostile_graphs_never_fail(graph: dict[str, Any]) -> None:
    text = json.dumps(graph)
    read = parse(text)
    if read is not None:
        assert read.seed is None or abs(read.seed) < 2**64
        assert all(isinstance(one, str) for one in (read.prompt, read.negative, read.model, read.sampler))


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "type", "mode", "inputs", "widgets_values"]), VALUES)),
    st.lists(VALUES),
)
def test_hostile_editors_graphs_never_fail(nodes: list[Any], links: list[Any]) -> None:
    parse("", json.dumps({"nodes": nodes, "links": links}))
