"""Attention over KV segments: the operator's signature, and its reference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from hypothesis import given, settings, strategies as st

from handler.engine.device.attention import KVCache, Step, attend

HEADS, KV_HEADS, SIZE = 4, 2, 8
CPU = torch.device("cpu")
OPERATOR = torch.ops.aten._flash_attention_forward.default


def test_operator_has_the_expected_arguments():
    arguments = OPERATOR._schema.arguments

    # A newer torch may add keyword arguments.
    assert [argument.name for argument in arguments if not argument.kwarg_only] == [
        "query",
        "key",
        "value",
        "cum_seq_q",
        "cum_seq_k",
        "max_q",
        "max_k",
        "dropout_p",
        "is_causal",
        "return_debug_mask",
    ]
    keyword_arguments = {a.name: a for a in arguments if a.kwarg_only}
    assert {"scale", "seqused_k"} <= keyword_arguments.keys()
    assert all(argument.has_default_value() for argument in keyword_arguments.values())


def test_operator_returns_its_output_first():
    assert OPERATOR._schema.returns[0].name == "output"


def test_operator_accepts_strided_keys():
    layer = torch.empty(100, 2 * KV_HEADS, SIZE, dtype=torch.bfloat16, device="meta")
    query = torch.empty(3, HEADS, SIZE, dtype=torch.bfloat16, device="meta")
    numbers = torch.empty(3, dtype=torch.int32, device="meta")

    output, *_ = OPERATOR(
        query,
        layer[:, :KV_HEADS],
        layer[:, KV_HEADS:],
        numbers,
        numbers,
        2,
        100,
        0.0,
        True,
        False,
        scale=1.0,
        seqused_k=numbers[1:],
    )

    assert output.shape == query.shape
    assert output.dtype == query.dtype


@dataclass(frozen=True, slots=True)
class Span:
    """A page in a step: its queries, its earlier tokens, and the gap before it."""

    num_queries: int
    num_earlier: int
    gap: int

    @property
    def used(self) -> int:
        return self.num_earlier + self.num_queries


SPANS = st.lists(
    st.builds(Span, st.integers(1, 5), st.integers(0, 20), st.integers(0, 7)),
    min_size=1,
    max_size=4,
)


def segment_starts(spans: Sequence[Span], order: Sequence[int]) -> list[int]:
    """Return the start of each page's segment, laid out in `order` with gaps."""
    starts, free = [0] * len(spans), 0
    for index in order:
        free += spans[index].gap
        starts[index] = free
        free += spans[index].used
    return starts


def build_step(cache: KVCache, spans: Sequence[Span], starts: Sequence[int]) -> Step:
    counts = [span.num_queries for span in spans]
    return Step(
        cache,
        cache_positions=torch.empty(0, dtype=torch.int64),
        query_starts=torch.tensor([0, *itertools.accumulate(counts)]).int(),
        segment_starts=torch.tensor([*starts, 0]).int(),
        num_used=torch.tensor([span.used for span in spans]).int(),
        max_queries=max(counts),
        max_used=max(span.used for span in spans),
    )


def attend_naively(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """Attend with loops over queries and heads.

    Queries are [n, heads, d]; they belong to the last n of m positions.
    """
    output = torch.zeros_like(query)
    num_earlier = len(keys) - len(query)
    for index, head in itertools.product(range(len(query)), range(HEADS)):
        visible = slice(0, num_earlier + index + 1)
        group = head // (HEADS // KV_HEADS)
        scores = keys[visible, group] @ query[index, head] * SIZE**-0.5
        output[index, head] = scores.softmax(dim=0) @ values[visible, group]
    return output


@settings(max_examples=50)
@given(spans=SPANS, data=st.data())
def test_segments_in_any_order_with_gaps_are_attended(spans, data):
    starts = segment_starts(spans, data.draw(st.permutations(range(len(spans)))))
    num_positions = max(s + span.used for s, span in zip(starts, spans, strict=True))
    config = SimpleNamespace(
        num_key_value_heads=KV_HEADS, head_dim=SIZE, num_hidden_layers=1
    )
    generator = torch.Generator().manual_seed(num_positions)
    cache = KVCache(config, num_positions, torch.float32, CPU)
    for cache_positions in (cache.keys[0], cache.values[0]):
        cache_positions.normal_(generator=generator)
    num_tokens = sum(span.num_queries for span in spans)
    query = torch.randn(num_tokens, HEADS, SIZE, generator=generator)

    attended = attend(
        query,
        cache.keys[0],
        cache.values[0],
        build_step(cache, spans, starts),
        SIZE**-0.5,
    )

    queries = query.split([span.num_queries for span in spans])
    expected = [
        attend_naively(
            page_queries,
            cache.keys[0][start : start + span.used],
            cache.values[0][start : start + span.used],
        )
        for page_queries, start, span in zip(queries, starts, spans, strict=True)
    ]
    torch.testing.assert_close(attended, torch.cat(expected), atol=1e-5, rtol=1e-4)
