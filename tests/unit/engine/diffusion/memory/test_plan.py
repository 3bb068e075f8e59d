from __future__ import annotations

from dataclasses import replace

import pytest

from engine.contract import EngineError, OutOfMemory, Profile
from engine.diffusion.memory.plan import plan, refit, room_to_decode, safer
from engine.diffusion.memory.types import GIB, Device, ModelMemory, Plan, StoredWeights
from engine.families.sd15.spec import sd15
from engine.families.sdxl.spec import sdxl
from engine.families.z_image.spec import demo, z_image, z_image_turbo
from tests.unit.engine.diffusion.memory.devices import card, processor

TURBO = z_image_turbo()
SDXL = sdxl()
SD15 = sd15()
EVERY = frozenset({"torchao", "gguf", "bitsandbytes"})
QUANT = frozenset({"torchao", "gguf"})


def planned(
    device: Device,
    profile: Profile = TURBO,
    side: int = 1024,
    asked: str = "auto",
    libraries: frozenset[str] = QUANT,
    gguf: int = 0,
    stored: StoredWeights | None = None,
) -> Plan:
    return plan(profile, side, side, device, asked, libraries, packed=gguf, stored=stored)


def test_a_large_card_holds_everything_as_it_is() -> None:
    found = planned(card(31))
    assert (found.on, found.precision, found.text_encoder, found.offload) == ("cuda", "bf16", "device", "none")
    assert not found.tile_vae
    assert found.host_bytes == 0
    assert found.reasons == ()


def test_the_text_encoder_goes_first() -> None:
    found = planned(card(16))
    assert (found.precision, found.text_encoder, found.offload) == ("bf16", "host", "text")
    # Qwen3-4B in bf16 is 8 GB, and nothing else waits there.
    assert found.host_bytes == pytest.approx(8.04e9, rel=0.01)


def test_where_main_memory_is_short_it_is_quantised_instead() -> None:
    found = planned(card(21, host=6))
    assert (found.precision, found.text_encoder, found.offload) == ("bf16", "int8", "none")
    assert "The text encoder is kept in int8." in found.reasons
    small = planned(card(18, host=7))
    assert (small.precision, small.text_encoder, small.offload) == ("bf16", "int8", "text")
    assert small.pinned_bytes == small.host_bytes == pytest.approx(4.41e9, rel=0.01)
    assert (
        "The text encoder waits in main memory in int8; a new prompt brings it to the card block by block."
        in small.reasons
    )


def test_then_weights_become_smaller() -> None:
    found = planned(card(11.25))
    assert (found.precision, found.compute, found.offload) == ("int8", "bf16", "text")
    assert not found.casts
    assert "Its weights are kept in int8 by torchao, which changes pictures a little." in found.reasons
    assert found.reasons[0].startswith("Z-Image-Turbo in bf16 takes 2")


def test_without_the_extra_they_become_fp8() -> None:
    found = planned(card(11.25), libraries=frozenset())
    assert (found.precision, found.storage, found.compute) == ("fp8", "fp8", "bf16")
    assert found.casts
    assert "With easel[quant] they would be kept in int8, which is closer to bf16." in found.reasons


def test_then_four_bits() -> None:
    found = planned(card(5.25), libraries=EVERY)
    assert (found.precision, found.offload) == ("nf4", "text")
    assert planned(card(5.25)).precision != "nf4", "bitsandbytes is not there"


def test_a_gguf_file_is_taken_as_it_is() -> None:
    found = planned(card(5.25), gguf=3_600_000_000)
    assert (found.precision, found.compute, found.offload) == ("gguf", "bf16", "text")
    assert planned(card(31), gguf=3_600_000_000).precision == "gguf"


def test_then_layers_are_copied_while_it_computes() -> None:
    found = planned(card(5.25))
    assert (found.precision, found.offload, found.text_encoder) == ("bf16", "group", "host")
    assert found.host_bytes == pytest.approx(20.35e9, rel=0.01)


def test_where_main_memory_does_not_hold_it_in_bf16_it_is_copied_in_int8() -> None:
    found = [planned(card(5.25, host=gib)) for gib in (24, 18, 15.5, 12)]
    assert [(p.precision, p.text_encoder, p.offload) for p in found] == [
        ("bf16", "host", "group"),
        ("bf16", "int8", "group"),
        ("int8", "host", "group"),
        ("int8", "int8", "group"),
    ]
    # 5.7 GiB of transformer and 4.1 GiB of text encoder: a machine of 16 GB.
    assert found[-1].pinned_bytes / GIB == pytest.approx(9.84, abs=0.02)


def test_swap_holds_no_weights_that_a_card_copies_from() -> None:
    assert planned(card(5.25, host=40, ram=24)).offload == "group"
    found = planned(card(5.25, host=40, ram=8))
    assert (found.offload, found.pinned_bytes) == ("sequential", 0), (
        "these are copied by the processor, and may be swapped"
    )
    assert found.host_bytes > 8 * GIB
    assert planned(card(16, host=40, ram=4)).text_encoder != "host"


def test_room_for_a_convolutions_workspace_is_kept_on_a_card() -> None:
    apple = planned(card(40, host=80, kind="mps", stream=False), SDXL)
    assert planned(card(40, host=80), SDXL).device_bytes - apple.device_bytes > 0.9 * GIB
    tiled = [planned(card(gib, host=80), SDXL) for gib in (7.5, 40)]
    assert [p.tile_vae for p in tiled] == [True, False]


def test_without_a_stream_parts_take_turns_and_then_layers() -> None:
    found = [planned(card(gib, stream=False), asked="bf16").offload for gib in (15, 13, 5.25)]
    assert found == ["text", "model", "sequential"]
    # Quantised weights can't be taken apart.
    assert planned(card(5.25, stream=False), gguf=5_000_000_000, libraries=frozenset({"gguf"})).on == "cpu"


def test_last_of_all_the_processor_draws() -> None:
    found = planned(card(1, host=24))
    assert (found.on, found.compute, found.offload) == ("cpu", "fp32", "none")
    assert "It is drawn on the CPU." in found.reasons


@pytest.mark.parametrize("libraries", [frozenset(), QUANT, EVERY])
def test_what_fits_nowhere_is_refused_in_one_sentence(libraries: frozenset[str]) -> None:
    with pytest.raises(OutOfMemory, match=r"Z-Image-Turbo takes at least .* close other programs") as e:
        planned(card(1, host=6), libraries=libraries)
    assert "the card has 1.0 GiB free" in str(e.value)
    with pytest.raises(OutOfMemory, match="main memory and swap have"):
        planned(processor(6), libraries=libraries)


@pytest.mark.parametrize("profile", [TURBO, z_image(), SDXL, SD15], ids=lambda p: p.name)
@pytest.mark.parametrize("libraries", [frozenset(), QUANT, EVERY], ids=len)
@pytest.mark.parametrize("gib", [3, 4, 6, 8, 10, 12, 16, 24, 32, 80])
def test_a_plan_never_takes_more_than_there_is(gib: float, libraries: frozenset[str], profile: Profile) -> None:
    for host in (8, 16, 32):
        for bf16 in (True, False):
            device = card(gib, host=host, bf16=bf16)
            for side in (512, 1024, 1536):
                try:
                    found = planned(device, profile, side, libraries=libraries)
                except OutOfMemory:
                    continue
                assert found.device_bytes <= found.budget
                assert found.budget < (device.free if found.on == "cuda" else device.host_free)
                assert found.host_bytes < device.host_free
                assert found.batch >= 1
                assert found.sentence.endswith(".")
                assert bf16 or "bf16" not in (found.compute, found.vae)


@pytest.mark.parametrize("profile", [TURBO, SDXL, SD15], ids=lambda p: p.name)
def test_more_memory_is_never_a_worse_plan(profile: Profile) -> None:
    order = ["none", "text", "group", "model", "sequential"]
    usual = "bf16" if profile is TURBO else "fp16"
    last = (9, True, 9)
    for gib in range(2, 40):
        found = planned(card(gib, host=64), profile)
        if found.on == "cpu":
            continue
        rank = (
            [usual, "int8"].index(found.precision) if found.offload in ("none", "text") else 2,
            found.tile_vae,
            order.index(found.offload),
        )
        assert rank <= last
        last = rank
    assert last == (0, False, 0)


def test_a_unet_is_drawn_in_fp16_and_its_vae_in_what_it_takes() -> None:
    found = planned(card(11), SDXL)
    assert (found.precision, found.compute, found.text_compute, found.vae) == ("fp16", "fp16", "fp16", "bf16")
    assert found.reasons == (
        "fp16 is closer to fp32 than bf16, and this model does not overflow in it.",
        "The VAE overflows in fp16, so it is kept in bf16.",
    )
    assert planned(card(11), SD15).vae == "fp16"
    assert planned(card(11), SDXL, asked="bf16").compute == "bf16"
    assert planned(card(5), SDXL).compute == "fp16", "what int8 leaves too"
    assert planned(card(11, kind="mps", host=11), SDXL).compute == "bf16", "it was not tried on an Apple GPU"
    assert safer("fp16", card(11)) == "bf16"


def test_an_old_card_draws_z_image_in_clamped_fp16_and_reads_prompts_in_fp32() -> None:
    found = planned(card(23, bf16=False))
    assert (found.precision, found.storage, found.compute) == ("fp16", "fp16", "fp16")
    assert (found.text_compute, found.vae) == ("fp32", "fp32")
    assert (
        "The card has no bf16, so Z-Image-Turbo computes in fp16 with clamped sums, and its text encoder in fp32."
        in found.reasons
    )
    small = planned(card(9, bf16=False))
    assert (small.precision, small.storage, small.compute, small.text_compute) == ("int8", "fp16", "fp16", "fp32")
    eight = planned(card(9, bf16=False), libraries=frozenset())
    assert (eight.precision, eight.storage, eight.compute, eight.text_compute) == ("fp8", "fp8", "fp16", "fp32")
    # On any card, for those who ask; never on a processor.
    assert planned(card(31), asked="fp16").compute == "fp16"
    assert planned(processor(64), asked="fp16").compute == "fp32"
    assert safer("fp16", card(23, bf16=False)) == "fp32"


@pytest.mark.parametrize("gib", [9, 11, 15, 23])
@pytest.mark.parametrize("host", [8, 12, 24])
def test_a_text_encoder_in_int8_never_computes_in_fp16_where_it_overflows(gib: float, host: float) -> None:
    found = planned(card(gib, host=host, bf16=False))
    assert found.text_compute == "fp32"
    assert found.text_encoder != "int8" or found.loaded == "fp32"


def test_an_old_card_draws_sdxl_in_fp16_but_for_its_vae() -> None:
    found = planned(card(11, bf16=False), SDXL)
    assert (found.storage, found.compute, found.vae) == ("fp16", "fp16", "fp32")
    assert "The VAE overflows in fp16, so it is kept in fp32." in found.reasons
    assert planned(card(11, bf16=False), SD15).vae == "fp16"


def test_a_card_that_is_asked_for_a_precision_takes_no_other() -> None:
    for gib in (2, 4, 6, 8, 12, 16, 24):
        found = planned(card(gib, host=64), asked="bf16")
        assert found.precision == "bf16"


@pytest.mark.parametrize(
    ("asked", "libraries", "gguf", "sentence"),
    [
        ("int8", frozenset(), 0, r"EASEL_PRECISION=int8 needs torchao, .*pip install 'easel\[quant\]'"),
        ("nf4", QUANT, 0, "EASEL_PRECISION=nf4 needs bitsandbytes"),
        ("auto", frozenset(), 5, "The model's GGUF file needs gguf"),
    ],
)
def test_a_missing_library_is_named(asked: str, libraries: frozenset[str], gguf: int, sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        planned(card(24), asked=asked, libraries=libraries, gguf=gguf)


def test_what_the_device_cannot_do_is_said() -> None:
    with pytest.raises(EngineError, match="needs an NVIDIA card"):
        planned(processor(24), asked="nf4", libraries=EVERY)
    with pytest.raises(EngineError, match="a card can't keep numbers in fp8"):
        planned(card(24, fp8=False), asked="fp8")


def test_an_apple_gpu_moves_nothing() -> None:
    found = planned(card(30, host=30, kind="mps", stream=False))
    assert (found.on, found.offload, found.precision) == ("mps", "none", "bf16")
    smaller = planned(card(20, host=20, kind="mps", stream=False))
    assert (smaller.on, smaller.offload) == ("mps", "none")
    assert "int8" in (smaller.precision, smaller.text_encoder)


def test_a_processor_draws_small_models_exactly() -> None:
    found = planned(processor(4), demo(), 192)
    assert (found.precision, found.compute, found.vae, found.tile_vae) == ("fp32", "fp32", "fp32", False)
    assert planned(processor(4, bf16=True), demo(), 192).precision == "fp32"


def test_a_processor_draws_large_ones_in_what_it_can_compute() -> None:
    assert planned(processor(64, bf16=True)).compute == "bf16"
    assert planned(processor(64)).precision == "fp32"
    short = planned(processor(24))
    assert (short.storage, short.compute) == ("bf16", "fp32"), "it waits in bf16 and is computed in fp32"
    shorter = planned(processor(15))
    assert (shorter.precision, shorter.text_encoder, shorter.compute) == ("int8", "int8", "fp32")
    asked = planned(processor(64), asked="bf16")
    assert (asked.precision, asked.compute) == ("bf16", "fp32"), "emulated bf16 is slower than fp32"


def test_a_gguf_file_on_a_processor() -> None:
    found = planned(processor(24), gguf=3_600_000_000)
    assert (found.precision, found.text_encoder) == ("gguf", "device")
    assert planned(processor(12), gguf=3_600_000_000).text_encoder == "int8"


def test_tiles_come_where_the_whole_picture_does_not_fit() -> None:
    small = planned(card(4.5), SD15, 512)
    assert not small.tile_vae, "a picture of one tile has no seams"
    assert planned(card(2.6), SD15, 1024).tile_vae
    assert not planned(card(20), SD15, 1024).tile_vae


def test_more_pictures_together_where_there_is_room() -> None:
    batches = [planned(card(gib), SDXL).batch for gib in (8, 12, 16, 24)]
    assert batches == sorted(set(batches))
    assert planned(card(16), SDXL, 512).batch >= planned(card(16), SDXL, 1024).batch


def test_guidance_takes_twice_the_room() -> None:
    guided = plan(z_image(), 1024, 1024, card(24), "bf16", QUANT)
    assert guided.batch < planned(card(24), asked="bf16").batch


def test_another_size_of_a_loaded_model() -> None:
    first = planned(card(11), SDXL)
    larger = refit(ModelMemory(first), SDXL, 2048, 2048)
    assert (larger.precision, larger.offload, larger.budget) == (first.precision, first.offload, first.budget)
    assert larger.tile_vae
    assert larger.batch < first.batch
    assert refit(ModelMemory(larger), SDXL, 1024, 1024) == first
    with pytest.raises(OutOfMemory, match=r"A picture of 2048x2048 takes .* with SDXL 1\.0"):
        refit(ModelMemory(first), SDXL, 2048, 2048, taken=first.budget - first.weight_bytes)


def test_a_model_that_nobody_counted_is_taken_for_its_family() -> None:
    unknown = replace(TURBO, parameters={}, title="Mine")
    found = planned(card(16), unknown)
    assert found.device_bytes == planned(card(16)).device_bytes
    assert any("Nobody counted the parameters of Mine" in r for r in found.reasons)


def test_safer_precisions() -> None:
    new, old = card(24), card(24, bf16=False)
    assert [safer(p, new) for p in ("nf4", "gguf", "int8", "fp8", "fp16", "bf16", "fp32")] == ["bf16"] * 5 + [
        "fp32",
        None,
    ]
    assert [safer(p, old) for p in ("nf4", "int8", "fp16", "fp32")] == ["fp32"] * 3 + [None]


def test_the_sentence_says_it_all() -> None:
    found = planned(card(11.25))
    assert found.sentence.startswith("Weights in int8, computed in bf16; the text encoder waits in main memory")
    assert f"of {found.budget / GIB:.1f} GiB of the device" in found.sentence
    assert planned(processor(4), demo(), 192).sentence.startswith("Weights in fp32; ")


FOLDER = {"transformer": "bf16", "text_encoder": "bf16", "vae": "bf16"}
FP32 = FOLDER | {"transformer": "fp32"}
"""Z-Image-Turbo as it is published: 24.6 GB of transformer, in fp32."""

MIXED = StoredWeights(FP32, mapped=frozenset({"text_encoder", "vae"}))
"""The same with norms in another format, so that the transformer is converted as a whole."""


def test_weights_that_are_converted_one_by_one_take_the_memory_of_a_layer_to_load() -> None:
    for formats in (FOLDER, FP32):
        assert planned(card(31, host=4), stored=StoredWeights(formats, frozenset(formats))).precision == "bf16"


def test_a_part_that_is_converted_as_a_whole_takes_memory_to_load() -> None:
    assert planned(card(31, host=14), stored=MIXED).precision == "bf16"
    with pytest.raises(OutOfMemory):
        planned(card(31, host=10), stored=MIXED)
    found = planned(card(31, host=10), stored=replace(MIXED, formats=FOLDER), asked="auto")
    assert (found.precision, found.offload) == ("bf16", "none"), "in the format of its files it is mapped all the same"
    small = planned(card(9, host=14), stored=MIXED)
    assert small.reasons[0].startswith("Z-Image-Turbo in bf16 takes")


def test_a_gguf_is_copied_when_it_is_loaded() -> None:
    size = 7 * GIB
    stored = StoredWeights({"text_encoder": "bf16", "vae": "bf16"})
    assert planned(card(31, host=9), gguf=size, stored=stored).precision == "gguf"
    with pytest.raises(OutOfMemory):
        planned(card(31, host=7), gguf=size, stored=stored)


def test_without_a_card_what_loading_takes_counts_too() -> None:
    """This processor computes in fp32, so that it is bf16 which is converted."""
    mapped = frozenset(FOLDER)
    assert planned(processor(14), asked="int8", stored=StoredWeights(FOLDER, mapped)).precision == "int8"
    with pytest.raises(OutOfMemory):
        planned(processor(14), asked="int8", stored=StoredWeights(FOLDER, mapped - {"transformer"}))


def test_nothing_changes_where_the_files_are_not_here() -> None:
    assert planned(card(31, host=2)) == planned(card(31, host=2), stored=StoredWeights())


def test_a_picture_is_decoded_while_others_take_a_step_where_both_have_room() -> None:
    def room(gib: float, batch: int = 4, taken: int = 0, profile: Profile = SDXL) -> bool:
        memory = ModelMemory(planned(card(gib), profile))
        return room_to_decode(memory, profile, 1024, 1024, batch=batch, taken=taken)

    assert room(24)
    assert not room(24, batch=200)
    assert not room(24, taken=14 * GIB)
    least = min(gib for gib in range(8, 25) if room(gib))
    assert not room(least - 1)
    assert planned(card(least - 1), SDXL).offload in ("none", "text"), "it draws there, one thing at a time"
    assert not room(8), "the VAE is not always on the card"
    assert not room_to_decode(ModelMemory(planned(processor(64), SDXL)), SDXL, 1024, 1024, batch=1)
