"""Rows that travel between ranks, in real processes."""

import pytest
import torch
from gloo import on_ranks

from cprspec.learning.exchange import gather_cat, inverse, rank, take, world_size

KINDS = (torch.uint8, torch.float32, torch.int64)


def own_rows(me, count, dtype):
    generator = torch.Generator().manual_seed(100 + me)
    return torch.randint(0, 250, (count, 2, 3), generator=generator).to(dtype)


def orders(count):
    generator = torch.Generator().manual_seed(7)
    return [torch.randperm(count, generator=generator) for _ in range(5)] + [torch.arange(count)]


def travel(me, count, world):
    assert (rank(), world_size()) == (me, world)
    result = {}
    for dtype in KINDS:
        own = own_rows(me, count, dtype)
        result[f"gathered {dtype}"] = gather_cat(own)
        for i, order in enumerate(orders(count * world)):
            taken = take(own, order)
            result[f"taken {dtype} {i}"] = taken
            result[f"back {dtype} {i}"] = take(taken, inverse(order))
    result["bool"] = gather_cat(own_rows(me, count, torch.int64)[:, 0, 0] % 2 == 0)
    return result


@pytest.mark.parametrize(("world", "count"), [(1, 4), (3, 5)])
def test_same_as_indexing_all_rows(world, count):
    results = on_ranks(world, travel, count, world) if world > 1 else [travel(0, count, 1)]
    for dtype in KINDS:
        everything = torch.cat([own_rows(me, count, dtype) for me in range(world)])
        for me, result in enumerate(results):
            mine = slice(me * count, (me + 1) * count)
            assert torch.equal(result[f"gathered {dtype}"], everything)
            for i, order in enumerate(orders(count * world)):
                taken = result[f"taken {dtype} {i}"]
                assert taken.dtype == dtype
                assert torch.equal(taken, everything[order][mine])
                assert torch.equal(result[f"back {dtype} {i}"], everything[mine])
    flags = torch.cat([own_rows(me, count, torch.int64)[:, 0, 0] % 2 == 0 for me in range(world)])
    assert all(torch.equal(result["bool"], flags) for result in results)


def test_an_order_of_another_length_is_refused():
    with pytest.raises(ValueError, match="order of 5 rows"):
        take(torch.zeros(4, 2), torch.arange(5))
