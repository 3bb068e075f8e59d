from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from engine.families.batched import noise_of, slerp
from tests.unit.engine.diffusion.toy import TOY

SHAPE = (1, 4, 8, 8)


def test_a_seed_is_a_noise() -> None:
    assert torch.equal(noise_of(TOY, SHAPE)[0], noise_of(replace(TOY, prompt="b"), SHAPE)[0])
    assert not torch.equal(noise_of(TOY, SHAPE)[0], noise_of(replace(TOY, seed=2), SHAPE)[0])


def test_a_variation_lies_between_two_seeds_and_is_as_long() -> None:
    one, other = noise_of(TOY, SHAPE)[0], noise_of(replace(TOY, seed=2), SHAPE)[0]
    half = noise_of(replace(TOY, variation=0.5, variation_seed=2), SHAPE)[0]
    whole = noise_of(replace(TOY, variation=1.0, variation_seed=2), SHAPE)[0]
    torch.testing.assert_close(whole, other)
    assert float(half.norm()) == pytest.approx(float(one.norm() + other.norm()) / 2, rel=0.05)
    small = noise_of(replace(TOY, variation=0.1, variation_seed=2), SHAPE)[0]
    assert (small - one).norm() < (half - one).norm() < (whole - one).norm()


def test_a_quarter_of_a_right_angle() -> None:
    found = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.25)
    torch.testing.assert_close(found, torch.tensor([math.cos(math.pi / 8), math.sin(math.pi / 8)]))


def test_no_way_to_turn_is_a_straight_line() -> None:
    a = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)
