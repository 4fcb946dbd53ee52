"""Equality of `TextForward` with transformers' text model of Qwen3-VL.

Models are tiny, with random weights. Results are compared closely in float32; in
bfloat16 the forward that is not fused rounds as transformers does.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, Qwen3VLConfig

from handler.engine.device.attention import KVCache, PageSpan, Step
from handler.engine.device.packed_weights import MAX_HOST_BYTES
from handler.engine.device.text_forward import (
    Deepstack,
    TextForward,
    find_unsupported_feature,
)
from handler.errors import ModelLoadError

VOCABULARY = 40
NUM_LAYERS = 3
ROPE = {
    "rope_type": "default",
    "rope_theta": 10_000.0,
    "mrope_section": [4, 2, 2],
    "mrope_interleaved": True,
}
YARN = {**ROPE, "rope_type": "yarn", "factor": 4.0}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "biased, three groups": {
        "attention_bias": True,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
    },
    "one key head": {"num_key_value_heads": 1, "hidden_size": 48},
    "uneven sections": {"rope_parameters": {**ROPE, "mrope_section": [4, 3, 1]}},
    "scaled rotation": {
        "rope_parameters": {**YARN, "original_max_position_embeddings": 128}
    },
    "tied": {"tie_word_embeddings": True},
}
WITH_AND_WITHOUT_FUSION = pytest.mark.parametrize(
    "is_fused", [False, True], ids=["plain", "fused"]
)


def create_module(dtype: torch.dtype = torch.float32, **text: Any) -> Any:
    """Return a small Qwen3-VL with random weights; `text` changes its configuration."""
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": NUM_LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 512,
            "rope_parameters": ROPE,
            **text,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
            "out_hidden_size": text.get("hidden_size", 32),
        },
        tie_word_embeddings=text.get("tie_word_embeddings", False),
    )
    torch.manual_seed(1)
    module = AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.2)
    return module.to(dtype).eval()


@dataclass
class ReferencePage:
    """Tokens of a page, and transformers' logits after each of them."""

    start: int
    """First cache position of the page's KV segment."""
    embeddings: torch.Tensor
    positions: torch.Tensor
    is_image: torch.Tensor
    features: list[torch.Tensor]
    logits: torch.Tensor

    def select_deepstack(self, begin: int, end: int) -> Deepstack | None:
        before, here = self.is_image[:begin].sum(), self.is_image[begin:end]
        if not here.any():
            return None
        features = [layer[before : before + here.sum()] for layer in self.features]
        return Deepstack(here.nonzero()[:, 0], features)


def create_page(
    module: Any, length: int, start: int, num_deepstack: int = 2
) -> ReferencePage:
    """Return a page of random tokens, with the logits of transformers' text model."""
    text = module.model.language_model
    hidden = text.config.hidden_size
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(module.dtype)

    is_image = torch.rand(length, generator=generator) < 0.5
    positions = torch.randint(0, 400, (3, length), generator=generator)
    embeddings = normal(length, hidden)
    features = [normal(int(is_image.sum()), hidden) for _ in range(num_deepstack)]
    with torch.inference_mode():
        states = text(
            inputs_embeds=embeddings[None],
            position_ids=positions[:, None],
            visual_pos_masks=is_image[None],
            deepstack_visual_embeds=features,
            use_cache=False,
        ).last_hidden_state[0]
        logits = module.lm_head(states)
    return ReferencePage(start, embeddings, positions, is_image, features, logits)


class Session:
    """KV cache filled with nan, with pages in any order and gaps between them."""

    def __init__(
        self,
        module: Any,
        *,
        is_fused: bool,
        num_positions: int = 100,
        max_host_bytes: int = MAX_HOST_BYTES,
    ) -> None:
        self.forward = TextForward(
            module, is_fused=is_fused, max_host_bytes=max_host_bytes
        )
        config = module.model.language_model.config
        self.cache = KVCache(config, num_positions, module.dtype, torch.device("cpu"))
        for layer in self.cache.layers:
            layer.fill_(torch.nan)

    @torch.inference_mode()
    def run(
        self,
        shares: list[tuple[ReferencePage, int, int]],
        deepstack: Deepstack | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Return the logits of tokens `begin` to `end` of each page, in one forward."""
        counts = [end - begin for _, begin, end in shares]
        step = Step(
            self.cache,
            cache_positions=torch.cat(
                [p.start + torch.arange(begin, end) for p, begin, end in shares]
            ),
            query_starts=torch.tensor([0, *counts]).cumsum(0).int(),
            segment_starts=torch.tensor([*(p.start for p, _, _ in shares), 0]).int(),
            num_used=torch.tensor([end for _, _, end in shares]).int(),
            max_queries=max(counts),
            max_used=max(end for _, _, end in shares),
        )
        states = self.forward.compute_states(
            torch.cat([p.embeddings[begin:end] for p, begin, end in shares]),
            torch.cat([p.positions[:, begin:end] for p, begin, end in shares], dim=1),
            step,
            deepstack,
            **options,
        )
        return self.forward.compute_logits(states)

    def prefill(self, page: ReferencePage, bounds: list[int]) -> None:
        for begin, end in pairwise(bounds):
            stack = page.select_deepstack(begin, end)
            assert self.run([(page, begin, end)], stack, num_last=0).numel() == 0


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)
    assert ours.argmax(-1).equal(theirs.argmax(-1))


@WITH_AND_WITHOUT_FUSION
@pytest.mark.parametrize("name", GEOMETRIES)
def test_chunks_and_mixed_rows_equal_transformers(name, is_fused):
    module = create_module(**GEOMETRIES[name])
    pages = [create_page(module, n, start) for n, start in ((23, 60), (9, 3), (17, 30))]
    session = Session(module, is_fused=is_fused)
    for page, bounds in zip(pages, ([0, 5, 20], [0, 8], [0, 13]), strict=True):
        session.prefill(page, bounds)
    shares = [(pages[0], 20, 23), (pages[1], 8, 9), (pages[2], 13, 17)]
    images = torch.cat([page.is_image[begin:end] for page, begin, end in shares])
    stacks = [page.select_deepstack(begin, end) for page, begin, end in shares]
    features = [torch.cat([s.layers[i] for s in stacks if s]) for i in range(2)]

    logits = session.run(shares, Deepstack(images.nonzero()[:, 0], features))

    expected = torch.cat([page.logits[begin:end] for page, begin, end in shares])
    assert_close(logits, expected)


@WITH_AND_WITHOUT_FUSION
def test_all_rows_of_a_prompt_equal_transformers(is_fused):
    module = create_module()
    page = create_page(module, 31, 8)

    logits = Session(module, is_fused=is_fused).run(
        [(page, 0, 31)], page.select_deepstack(0, 31)
    )

    assert_close(logits, page.logits)


@pytest.mark.parametrize("num_deepstack", [1, NUM_LAYERS])
@pytest.mark.parametrize("num_last", [0, 1, 4])
def test_last_rows_equal_those_of_all_rows(num_deepstack, num_last):
    module = create_module()
    page = create_page(module, 12, 5, num_deepstack)
    session = Session(module, is_fused=True)

    logits = session.run(
        [(page, 0, 12)], page.select_deepstack(0, 12), num_last=num_last
    )

    torch.testing.assert_close(
        logits, page.logits[12 - num_last :], rtol=1e-5, atol=2e-5
    )


def test_contiguous_visual_rows_are_a_slice():
    states, features = torch.zeros(6, 2), [torch.ones(3, 2), torch.full((3, 2), 2.0)]

    Deepstack(slice(1, 4), features).add_to(states, 0)
    Deepstack(torch.tensor([1, 2, 3]), features).add_to(states, 1)

    assert states[:, 0].tolist() == [0, 3, 3, 3, 0, 0]


def test_one_position_equals_three_equal_axes():
    forward = TextForward(create_module())
    numbers = torch.arange(300, 310)

    alone = forward._compute_rotation(numbers)
    thrice = forward._compute_rotation(numbers.expand(3, -1))

    assert all(map(torch.equal, alone, thrice))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_unfused_bfloat16_equals_transformers_bit_for_bit(name):
    module = create_module(torch.bfloat16, **GEOMETRIES[name])
    page = create_page(module, 29, 11)

    logits = Session(module, is_fused=False).run(
        [(page, 0, 29)], page.select_deepstack(0, 29)
    )

    assert logits.equal(page.logits)


@pytest.mark.parametrize("name", ["plain", "biased, three groups", "tied"])
def test_generate_gives_the_same_text_with_packed_weights(name):
    module = create_module(torch.bfloat16, **GEOMETRIES[name])
    before = {key: value.clone() for key, value in module.state_dict().items()}
    options = {"input_ids": torch.arange(1, 20)[None], "do_sample": False}
    options |= {"max_new_tokens": 12, "return_dict_in_generate": True}
    options |= {"output_scores": True, "pad_token_id": 0}
    expected = module.generate(**options)

    TextForward(module)

    output = module.generate(**options)
    assert output.sequences.equal(expected.sequences)
    assert all(map(torch.equal, output.scores, expected.scores))
    after = module.state_dict()
    assert all(after[key].equal(value) for key, value in before.items())


def test_packed_weights_take_no_more_memory():
    module = create_module(attention_bias=True)

    def count_parameter_bytes() -> int:
        storages = {p.untyped_storage().data_ptr(): p for p in module.parameters()}
        return sum(p.untyped_storage().nbytes() for p in storages.values())

    before = count_parameter_bytes()
    layer = TextForward(module)._layers[0]
    attention = module.model.language_model.layers[0].self_attn

    assert count_parameter_bytes() == before
    [(weight, _)] = layer.qkv.parts
    assert weight.data_ptr() == attention.q_proj.weight.data_ptr()
    assert weight[-1].data_ptr() == attention.v_proj.weight[-1].data_ptr()


def test_packing_again_copies_nothing():
    module = create_module(attention_bias=True)

    first, second = TextForward(module)._layers[1], TextForward(module)._layers[1]

    for name in ("qkv", "gate_up"):
        [one], [other] = getattr(first, name).parts, getattr(second, name).parts
        for tensor, again in zip(one, other, strict=True):
            if tensor is not None:
                assert tensor.data_ptr() == again.data_ptr()
                assert tensor.equal(again)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_large_weights_on_a_processor_are_not_packed(name):
    module = create_module(torch.bfloat16, **GEOMETRIES[name])
    page = create_page(module, 29, 11)
    addresses = [weight.data_ptr() for weight in module.parameters()]

    session = Session(module, is_fused=False, max_host_bytes=1)
    logits = session.run([(page, 0, 29)], page.select_deepstack(0, 29))

    assert logits.equal(page.logits)
    assert [weight.data_ptr() for weight in module.parameters()] == addresses


def test_weights_of_another_dtype_are_packed_again():
    module = create_module(torch.bfloat16)
    TextForward(module)
    module.float()
    page = create_page(module, 9, 0)

    logits = Session(module, is_fused=False).run(
        [(page, 0, 9)], page.select_deepstack(0, 9)
    )

    assert_close(logits, page.logits)


def test_packing_keeps_requires_grad():
    module = create_module()
    attention = module.model.language_model.layers[0].self_attn
    attention.q_proj.weight.requires_grad = False

    TextForward(module)

    assert not attention.q_proj.weight.requires_grad
    assert attention.k_proj.weight.requires_grad


UNSUPPORTED: dict[str, dict[str, Any]] = {
    "gelu": {"hidden_act": "gelu"},
    "rotary embeddings of type dynamic": {
        "rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 2.0}
    },
    "sliding window": {"sliding_window": 64},
    "sliding_attention": {"layer_types": ["sliding_attention"] * NUM_LAYERS},
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_configuration_is_rejected(name):
    module = create_module(**UNSUPPORTED[name])

    with pytest.raises(ModelLoadError, match=f"{name}.*: set engine to generate"):
        TextForward(module)


def test_projections_of_another_type_are_unsupported():
    module = copy.deepcopy(create_module())
    module.model.language_model.layers[1].mlp.up_proj = torch.nn.Bilinear(1, 1, 1)

    assert find_unsupported_feature(module) == "projections of type Bilinear"


def test_disabled_sliding_window_is_supported():
    assert (
        find_unsupported_feature(
            create_module(sliding_window=64, use_sliding_window=False)
        )
        is None
    )


def test_missing_spans_are_read_from_the_device():
    module = create_module()
    page = create_page(module, 6, 2)
    session = Session(module, is_fused=False)
    step = Step(
        session.cache,
        cache_positions=page.start + torch.arange(6),
        query_starts=torch.tensor([0, 6]).int(),
        segment_starts=torch.tensor([2, 0]).int(),
        num_used=torch.tensor([6]).int(),
        max_queries=6,
        max_used=6,
    )

    with torch.inference_mode():
        session.forward.compute_states(page.embeddings.clone(), page.positions, step)

    [span] = step.spans or []
    assert (span.begin, span.end, span.start, span.used) == (0, 6, 2, 6)
    assert isinstance(span, PageSpan)
