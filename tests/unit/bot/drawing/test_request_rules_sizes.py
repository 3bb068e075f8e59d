"""Sizes: on the model's grid, in range, near the ratio that was asked for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput, Refusal
from bot.core.requests import nearest_size
from bot.drawing.request_rules import PRESET_RATIOS, parse_size
from engine.contract import Profile, Range
from engine.families.z_image.spec import demo, z_image_turbo
from tests.unit.bot.outcome import outcome

DEMO = demo()
TURBO = z_image_turbo()
# Limits that lie off the grid, and no presets of its own.
ODD = replace(TURBO, multiple=24, side=Range(500, 100, 1000), presets={})

PROFILES = st.sampled_from([DEMO, TURBO, ODD])
SIDES = st.integers(0, 10**6) | st.integers(1, 260).map(lambda n: n * 8)


def allowed(size: tuple[int, int], profile: Profile) -> bool:
    return all(s % profile.multiple == 0 and profile.side.low <= s <= profile.side.high for s in size)


@pytest.mark.parametrize(
    ("typed", "size"),
    [
        (None, (1024, 1024)),
        ("1024x1024", (1024, 1024)),
        ("512 X 2048", (512, 2048)),
        ("1024×768", (1024, 768)),
        ("１０２４＊７６８", (1024, 768)),
        ("1024х768", (1024, 768)),  # a Cyrillic letter, as Russian keyboards have it
        ("square", (1024, 1024)),
        ("Portrait", TURBO.presets["portrait"]),
        ("竖版", TURBO.presets["portrait"]),
        ("16:9", TURBO.presets["wide"]),
        ("16：9", TURBO.presets["wide"]),
        ("1920:1080", TURBO.presets["wide"]),
        ("3/4", TURBO.presets["portrait"]),
        ("1.5:1", (1248, 832)),
        ("21:9", (1568, 672)),
    ],
)
def test_sizes_are_understood(typed: str | None, size: tuple[int, int]) -> None:
    assert parse_size(typed, TURBO) == size


@pytest.mark.parametrize(
    ("typed", "profile", "key", "nearest_size"),
    [
        ("500x500", DEMO, "refusal.size.off_grid", "496x496"),
        ("192x500", DEMO, "refusal.size.off_grid", "192x496"),
        ("500x192", DEMO, "refusal.size.off_grid", "496x192"),
        ("505x490", DEMO, "refusal.size.off_grid", "512x496"),
        ("16x16", DEMO, "refusal.size.too_small", "64x64"),
        ("0x192", DEMO, "refusal.size.too_small", "64x192"),
        ("4096x500", TURBO, "refusal.size.too_small", "2048x512"),
        ("4096x4096", TURBO, "refusal.size.too_large", "2048x2048"),
        ("999999999x512", TURBO, "refusal.size.too_large", "2048x512"),
        ("99999999999x512", TURBO, "refusal.size.too_large", "2048x512"),
        ("512x" + "9" * 5000, TURBO, "refusal.size.too_large", "512x2048"),
        ("100:1", TURBO, "refusal.size.ratio", "2048x512"),
    ],
)
def test_wrong_sizes_name_the_nearest_right_one(typed: str, profile: Profile, key: str, nearest_size: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_size(typed, profile)
    assert (refused.value.key, refused.value.params["nearest"]) == (key, nearest_size)


@pytest.mark.parametrize(
    "typed",
    [
        "192х192",
        "192Χ192",
        "192✖️192",
        "192px x 192px",
        "192x192 px",
        "192x192PX",
        "192 × 192像素",
        "１９２ｘ１９２",
        "\u2060192\u200bx192\u200f",
        "192⨯192",
    ],
)
def test_a_size_may_be_written_as_people_write_it(typed: str) -> None:
    assert parse_size(typed, DEMO) == (192, 192)


@pytest.mark.parametrize("typed", ["16/9", "16:9", "16∶9", "16⁄9", "\u200f16:9", "16:\ufe0f9", "１６：９"])
def test_a_ratio_may_be_written_as_people_write_it(typed: str) -> None:
    assert parse_size(typed, TURBO) == parse_size("wide", TURBO)


@pytest.mark.parametrize(
    "typed", ["", "big", "512", "512x", "x512", "axb", "512x512x512", "0:1", "-512x512", "1e3x512", "9" * 5000]
)
def test_what_is_no_size_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_size(typed, DEMO)
    assert refused.value.key == "refusal.size.not_understood"
    assert refused.value.params["example"] == "192x192"


@given(PROFILES, st.sampled_from(sorted(PRESET_RATIOS)))
def test_presets_are_allowed_and_near_their_ratio(profile: Profile, name: str) -> None:
    width, height = parse_size(name, profile)
    across, down = PRESET_RATIOS[name]
    assert allowed((width, height), profile)
    # Each side is off by half a step of the grid at most.
    slack = profile.multiple / 2 / min(width, height)
    assert math.isclose(width / height, across / down, rel_tol=2.5 * slack)


@given(PROFILES, st.integers(1, 400), st.integers(1, 400))
def test_a_ratio_gives_its_shape_at_the_native_area_or_is_refused(profile: Profile, across: int, down: int) -> None:
    ideal = [profile.side.default * math.sqrt(across / down), profile.side.default * math.sqrt(down / across)]
    size = outcome(lambda: parse_size(f"{across}:{down}", profile))
    if isinstance(size, Refusal):
        assert size.key == "refusal.size.ratio"
        low, high = profile.side.low + profile.multiple, profile.side.high - profile.multiple
        assert min(ideal) < low or max(ideal) > high
        assert allowed(parse_size(str(size.params["nearest"]), profile), profile)
        return
    assert allowed(size, profile)
    assert all(abs(side - wish) <= profile.multiple / 2 + 1e-6 for side, wish in zip(size, ideal, strict=True))


@given(PROFILES, SIDES, SIDES)
def test_pixels_are_taken_as_they_are_or_refused_with_a_right_size(profile: Profile, width: int, height: int) -> None:
    size = outcome(lambda: parse_size(f"{width}x{height}", profile))
    if allowed((width, height), profile):
        assert size == (width, height)
    else:
        assert isinstance(size, Refusal)
        assert allowed(parse_size(str(size.params["nearest"]), profile), profile)


@given(PROFILES, st.integers(-100, 5000), st.integers(-100, 5000))
def test_no_allowed_size_is_nearer_than_the_nearest(profile: Profile, width: int, height: int) -> None:
    sides = [s for s in range(profile.side.low, profile.side.high + 1) if s % profile.multiple == 0]
    for asked, got in zip((width, height), nearest_size(width, height, profile), strict=True):
        assert got in sides
        assert abs(asked - got) == min(abs(asked - side) for side in sides)


@given(st.text(), PROFILES)
def test_any_text_is_a_size_or_refused(typed: str, profile: Profile) -> None:
    try:
        size = parse_size(typed, profile)
    except BadInput:
        return
    assert allowed(size, profile)
