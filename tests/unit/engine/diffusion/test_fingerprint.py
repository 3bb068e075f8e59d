"""What a picture says of how it was drawn: the same words for the same pixels, others for others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.diffusion.fingerprint import device_kind, setup_digest, with_extras
from engine.families.z_image.spec import demo
from engine.spec import Lora, ModelSpec

LORA = Lora("/models/loras/ink.safetensors", 0.8)
SPEC = ModelSpec(replace(demo(), source="/models/demo", scheduler="EulerDiscreteScheduler"), loras=(LORA,))


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("cpu", "cpu"),
        ("mps", "mps"),
        ("cuda:0 NVIDIA GeForce RTX 3090", "cuda NVIDIA GeForce RTX 3090"),
        ("cuda:11 NVIDIA H100", "cuda NVIDIA H100"),
    ],
)
def test_a_second_card_of_the_same_make_is_the_same(device: str, kind: str) -> None:
    assert device_kind(device) == kind


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, loras=()),
        replace(SPEC, loras=(replace(LORA, weight=0.7),)),
        replace(SPEC, loras=(replace(LORA, source="/models/loras/oil.safetensors"),)),
        replace(SPEC, profile=replace(SPEC.profile, scheduler="DDIMScheduler")),
        replace(SPEC, profile=replace(SPEC.profile, scheduler_config={"use_karras_sigmas": True})),
        replace(SPEC, profile=replace(SPEC.profile, source="owner/model")),
        replace(SPEC, profile=replace(SPEC.profile, family="sd15", clip_skip=2)),
        replace(SPEC, transformer="owner/model/tuned.gguf"),
        replace(SPEC, base="owner/base"),
    ],
)
def test_whatever_decides_pixels_is_told(other: ModelSpec) -> None:
    assert setup_digest(other) != setup_digest(SPEC)


@pytest.mark.parametrize(
    "same",
    [
        replace(SPEC, loras=(replace(LORA, source="/elsewhere/ink.safetensors"),)),
        replace(SPEC, profile=replace(SPEC.profile, source="/moved/demo", title="Another name")),
        replace(SPEC, revision="c0ffee"),
        replace(SPEC, profile=replace(SPEC.profile, family="sd15", clip_skip=1)),
    ],
)
def test_where_files_lie_and_what_they_are_called_for_people_does_not_matter(same: ModelSpec) -> None:
    assert setup_digest(same) == setup_digest(SPEC)


def test_an_upscaler_is_told_only_where_one_was_used() -> None:
    plain = setup_digest(SPEC)
    assert with_extras(plain, "") == plain
    found = {plain, with_extras(plain, "c0ffee"), with_extras(plain, "beef"), with_extras("other", "c0ffee")}
    assert len(found) == 4
    assert {len(setup) for setup in found} == {len(plain)}
