from __future__ import annotations

import pytest
import torch

from engine.diffusion import device as devices


def test_the_cpu_is_always_there() -> None:
    cpu = devices.choose("cpu")
    assert devices.title(cpu) == "cpu"
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
