"""Kernels, bytes and FLOPs of operators whose costs are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional

from bench.costs.fake_cuda import DEVICE, FakeDevice, fake_cuda
from bench.costs.kernels import OperatorTally
from bench.costs.roofline import GPUS

ROWS, WIDTH, OUT = 6, 64, 16
Compute = Callable[[torch.Tensor, torch.Tensor], object]


@pytest.fixture
def fake() -> Iterator[FakeDevice]:
    with fake_cuda() as fake, torch.inference_mode():
        yield fake


def bfloat16_tensor(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device=DEVICE)


def count_operators(fake: FakeDevice, compute: Compute) -> OperatorTally:
    states, weight = bfloat16_tensor(ROWS, WIDTH), bfloat16_tensor(OUT, WIDTH)
    with fake.count_separately() as tally:
        compute(states, weight)
    return tally


LAUNCHES: dict[str, tuple[int, Compute]] = {
    "linear": (1, lambda x, w: functional.linear(x, w)),
    "linear with bias": (1, lambda x, w: functional.linear(x, w, w[:, 0])),
    "linear of one more dimension": (1, lambda x, w: functional.linear(x[None], w)),
    "rms_norm": (1, lambda x, w: functional.rms_norm(x, (WIDTH,), w[0])),
    "layer_norm": (1, lambda x, w: functional.layer_norm(x, (WIDTH,), w[0], w[1])),
    "silu": (1, lambda x, w: functional.silu(x)),
    "attention": (1, lambda x, w: functional.scaled_dot_product_attention(x, x, x)),
    "sum in place": (1, lambda x, w: x.add_(1.0)),
    "zeros": (1, lambda x, w: torch.zeros_like(x)),
    "cast": (1, lambda x, w: x.float()),
    "joined": (1, lambda x, w: torch.cat([x, x])),
    "rows copied": (1, lambda x, w: x.t().contiguous()),
    "reshaped with a copy": (1, lambda x, w: x.t().reshape(-1)),
    "reshaped in place": (0, lambda x, w: x.reshape(-1)),
    "views": (0, lambda x, w: x[None, 1:, ::2].transpose(0, 1).unbind(0)),
    "cast to the same": (0, lambda x, w: x.to(torch.bfloat16).contiguous()),
    "allocation": (0, lambda x, w: torch.empty_like(x)),
    "nothing to do": (0, lambda x, w: x[:0] + 1),
    "host": (0, lambda x, w: torch.ones(4) + torch.arange(4)),
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_kernels_of_known_functions(fake, name):
    expected, compute = LAUNCHES[name]

    tally = count_operators(fake, compute)

    assert tally.num_kernels == expected, tally.by_name()


def test_linear_reads_its_weights_once(fake):
    tally = count_operators(fake, lambda x, w: functional.linear(x, w))

    assert tally.num_bytes == 2 * (ROWS * WIDTH + OUT * WIDTH + ROWS * OUT)
    assert tally.flops == 2 * ROWS * WIDTH * OUT


def test_an_in_place_product_reads_its_target(fake):
    target = bfloat16_tensor(ROWS, OUT)

    tally = count_operators(fake, lambda x, w: target.addmm_(x, w.t()))

    assert tally.num_bytes == 2 * (ROWS * WIDTH + OUT * WIDTH + 2 * ROWS * OUT)
    assert tally.flops == 2 * ROWS * WIDTH * OUT


def test_repeated_values_are_read_once(fake):
    tally = count_operators(fake, lambda x, w: x + w[0].expand(ROWS, WIDTH))

    assert tally.num_bytes == 2 * (ROWS * WIDTH + WIDTH + ROWS * WIDTH)


def test_a_lookup_reads_the_rows_found(fake):
    rows = torch.tensor([3, 1], device=DEVICE)

    tally = count_operators(fake, lambda x, w: functional.embedding(rows, w))

    assert tally.num_bytes == 2 * 8 + 2 * (2 * 2 * WIDTH)


def test_a_cache_write_moves_the_new_rows(fake):
    pool, rows = bfloat16_tensor(1000, WIDTH), torch.arange(ROWS, device=DEVICE)

    tally = count_operators(fake, lambda x, w: pool.index_copy_(0, rows, x))

    assert tally.num_bytes == ROWS * 8 + 2 * (2 * ROWS * WIDTH)


def test_attention_without_a_cache_counts_all_pairs(fake):
    def compute(x: torch.Tensor, w: torch.Tensor) -> None:
        query, key, value = bfloat16_tensor(3, 1, 4, 10, 8).unbind(0)
        functional.scaled_dot_product_attention(query, key, value)

    assert count_operators(fake, compute).flops == 2 * 2 * 4 * 10 * 10 * 8


@pytest.mark.parametrize(("num_queries", "num_kernels"), [(1, 5), (3, 1)])
def test_cached_attention_reads_the_places_in_use(fake, num_queries, num_kernels):
    num_pages, heads, kv_heads, size, num_used_positions = 2, 4, 2, 8, 100
    fake.used_positions = num_used_positions
    query = bfloat16_tensor(num_pages * num_queries, heads, size)
    pool = bfloat16_tensor(5000, kv_heads, size)
    numbers = torch.zeros(num_pages + 1, dtype=torch.int32, device=DEVICE)

    with fake.count_separately() as tally:
        torch.ops.aten._flash_attention_forward(
            query,
            pool,
            pool,
            numbers,
            numbers,
            num_queries,
            200,
            0.0,
            True,
            False,
            seqused_k=numbers[1:],
        )

    [operator] = tally.operators
    queries = 2 * query.numel() * (2 if num_kernels == 1 else 8)
    assert operator.num_kernels == num_kernels
    assert (
        operator.num_bytes
        == 2 * num_pages * num_used_positions * kv_heads * size * 2 + queries
    )
    pairs = sum(num_used_positions - behind for behind in range(num_queries))
    assert operator.flops == 4 * num_pages * pairs * heads * size


def test_rates_of_gpus_agree_with_their_order():
    order = ("A10G", "L40S", "A100", "H100", "H200", "B200")
    gpus = [GPUS[name] for name in order]

    bandwidths = [gpu.bandwidth for gpu in gpus]
    assert bandwidths == sorted(bandwidths)
    assert GPUS["L4"].bandwidth < GPUS["A10G"].bandwidth
    assert [gpu.name for gpu in gpus if gpu.memory_bytes < 40e9] == ["A10G"]
