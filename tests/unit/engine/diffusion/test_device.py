from __future__ import annotations

import pytest
import torch

from engine.diffusion import device as devices


def test_the_cpu_is_always_there() -> None:
    cpu = devices.choose("cpu")
    assert devices.title(cpu) == "cpu"
    assert devices.precision("auto", cpu) == "fp32"
    assert devices.dtype("bf16") is torch.bfloat16
    assert devices.memory(cpu) >= 0
    devices.release(cpu)


def test_auto_takes_what_is_there() -> None:
    assert devices.choose("auto").type in {"cuda", "mps", "cpu"}


def test_a_card_that_is_not_there() -> None:
    with pytest.raises(devices.NoDevice, match=r"cuda:77.*set it to auto or cpu"):
        devices.choose("cuda:77")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is a Mac")
def test_no_apple_gpu() -> None:
    with pytest.raises(devices.NoDevice, match=r"mps.*set it to auto or cpu"):
        devices.choose("mps")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_card_never_draws_in_fp16_by_itself(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert devices.precision("auto", torch.device("cuda", 0)) == expected
    assert devices.precision("fp16", torch.device("cuda", 0)) == "fp16"
