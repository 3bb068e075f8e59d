"""The simulated card gives memory as PyTorch's caching allocator does."""

from __future__ import annotations

import pytest
import torch

from tests.fakes.simulated_card import MIB, CachingAllocator, SimulatedCard


@pytest.mark.parametrize(
    ("nbytes", "size", "segment"),
    [
        (0, 512, 2 * MIB),
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),
        (21 * MIB, 22 * MIB, 22 * MIB),
    ],
)
def test_sizes_and_segments(nbytes: int, size: int, segment: int) -> None:
    allocator = CachingAllocator(100 * MIB)
    block = allocator.allocate(nbytes)
    # What is left of a segment is split off where it is more than 1 MiB.
    assert (block.size, allocator.reserved) == (size, segment)
    assert allocator.allocated == size


def test_freed_memory_is_kept_joined_and_given_again() -> None:
    allocator = CachingAllocator(100 * MIB)
    blocks = [allocator.allocate(4 * MIB) for _ in range(5)]
    assert allocator.reserved == 20 * MIB
    for block in blocks[1:3]:
        allocator.free(block)
    assert allocator.allocate(8 * MIB).size == 8 * MIB
    assert allocator.reserved == 20 * MIB
    allocator.free(blocks[0])
    allocator.free(blocks[3])
    assert allocator.allocate(8 * MIB)
    assert allocator.reserved == 40 * MIB, "what lies apart is no larger piece"
    allocator.empty_cache()
    assert allocator.reserved == 40 * MIB, "a segment in use stays"


def test_the_limit_counts_segments_and_the_cache_is_emptied_first() -> None:
    allocator = CachingAllocator(40 * MIB)
    first = allocator.allocate(30 * MIB)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 12"):
        allocator.allocate(12 * MIB)
    allocator.free(first)
    allocator.allocate(36 * MIB)
    assert (allocator.reserved, allocator.allocated, allocator.peak) == (36 * MIB,) * 3


def test_what_is_made_while_it_computes_takes_memory_until_it_is_gone() -> None:
    card = SimulatedCard(1 / 16)
    weight = torch.ones(1024, 1024)
    with card.computing():
        x = weight + 1
        view = x[:10]
        del x
        assert card.allocator.allocated == 4 * MIB
        with pytest.raises(torch.OutOfMemoryError):
            weight.repeat(16, 1)
    del view
    assert card.allocator.allocated == 0
    torch.ones(1024, 1024)
    assert card.allocator.allocated == 0
