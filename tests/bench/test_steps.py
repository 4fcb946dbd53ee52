"""Steps over fake tensors: planted faults are detected, and real steps have none."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import steps
from bench.costs.fake_cuda import DEVICE, FakeDevice, UnknownValuesError, fake_cuda
from bench.costs.kernels import Operator, OperatorTally
from bench.costs.roofline import GPUS, GpuDataSheet
from bench.costs.step_counts import (
    CountedStep,
    StepCounts,
    a4_size,
    count_steps,
    fake_model,
    largest_size,
)
from bench.teacher_forcing.geometry import GEOMETRIES
from handler.engine.batching.memory_plan import CONTEXT_BYTES
from handler.engine.device.graphs import NUM_FACTS, DecodeGraphs, Outputs, Shape
from handler.engine.device.torch_runner import TorchRunner

TINY = GEOMETRIES["tiny"]
MAX_KERNELS = 700
MAX_MIXED_WAITS = 2
"""Waits of a mixed step: for its decode step and for the prompt's last chunk."""
SHAPE = Shape(2, 3)


@pytest.fixture
def fake() -> Iterator[FakeDevice]:
    with fake_cuda() as fake, torch.inference_mode():
        yield fake


@pytest.fixture(scope="module")
def counts() -> StepCounts:
    return count_steps(TINY, [1, 2])


def record_step(
    fake: FakeDevice, fault: Callable[[torch.Tensor], Any]
) -> OperatorTally:
    """Return the tally of a recorded step that computes the fault beside a sum."""

    def compute(numbers: torch.Tensor) -> Outputs:
        tokens = numbers[:, :-NUM_FACTS] + 1
        fault(tokens)
        return tokens, tokens[:, :1].float()

    DecodeGraphs(compute, [SHAPE], device=DEVICE, idle_segment=0, record=fake.record)
    return fake.recorded[SHAPE]


FAULTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda tokens: tokens[0, 0].item(),
    "tolist": lambda tokens: tokens.tolist(),
    "condition": lambda tokens: bool((tokens > 3).any()),
    "boolean index": lambda tokens: tokens[tokens > 3],
    "assignment by mask": lambda tokens: tokens.index_put_((tokens > 3,), tokens.sum()),
    "nonzero": lambda tokens: tokens.nonzero(),
    "repeats": lambda tokens: tokens[0].repeat_interleave(tokens[0]),
    "comparison": lambda tokens: torch.equal(tokens, tokens),
    "copy to the host": lambda tokens: tokens.cpu(),
    "number from the host": lambda tokens: torch.tensor([1, 2], device=DEVICE),
    "index from the host": lambda tokens: tokens[torch.tensor([0, 1])],
    "random": lambda tokens: torch.rand(3, device=DEVICE),
    "draw": lambda tokens: torch.multinomial(tokens.float(), 1),
    "dropout": lambda tokens: torch.dropout(tokens.float(), 0.1, True),
    "pinned": lambda tokens: torch.zeros(3, pin_memory=True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_recorded_part_is_found(fake, name):
    tally = record_step(fake, FAULTS[name])

    assert tally.forbidden
    assert "tests/bench/test_steps.py:" in tally.forbidden[0]


def test_a_sound_recorded_part_has_no_fault(fake):
    tally = record_step(fake, lambda tokens: torch.dropout(tokens.float(), 0.1, False))

    assert tally.forbidden == []
    assert tally.num_synchronisations == 0


def test_more_kernels_are_counted(fake):
    few = record_step(fake, lambda tokens: None).num_operators
    more = record_step(fake, lambda tokens: tokens.float().neg().exp()).num_operators

    assert more == few + 3


def test_a_fault_in_the_runners_own_step_is_found(fake):
    def read_back(compute: Callable[[], Outputs]) -> Outputs:
        outputs = compute()
        outputs[0].sum().item()
        return outputs

    TorchRunner(
        fake_model(TINY),
        100,
        graph_shapes=[SHAPE],
        record=lambda compute: fake.record(lambda: read_back(compute)),
    )

    [fault] = fake.recorded[SHAPE].forbidden
    assert fault.startswith("read of values at tests/bench/test_steps.py:")


WAITS: dict[str, tuple[int, Callable[[torch.Tensor], Any]]] = {
    "list": (1, lambda x: x.tolist()),
    "values one by one": (2, lambda x: [int(value) for value in x[0, :2]]),
    "list of tensors": (2, lambda x: torch.tensor([x[0, 0], x[0, 1]])),
    "copy to the host": (1, lambda x: x.cpu()),
    "copy that does not block": (0, lambda x: x.to("cpu", non_blocking=True)),
    "copy to the device": (1, lambda x: torch.tensor([1], device="cuda")),
    "pinned copy": (
        0,
        lambda x: torch.tensor([1], pin_memory=True).to("cuda", non_blocking=True),
    ),
    "boolean index": (1, lambda x: x[x > 2]),
    "work on the host": (0, lambda x: torch.arange(9).nonzero().sum().item()),
}


@pytest.mark.parametrize("name", WAITS)
def test_waits_of_the_host_are_counted(fake, name):
    expected, work = WAITS[name]
    device_tensor = torch.tensor([[1, 2, 3], [4, 5, 6]], device="cuda")

    with fake.count_separately() as tally:
        work(device_tensor)

    assert tally.num_synchronisations == expected
    assert all("test_steps.py" in where for where in tally.synchronisations)


def test_known_values_are_carried_to_the_device_and_back(fake):
    pinned = torch.empty(3, dtype=torch.int64, pin_memory=True)
    pinned.copy_(torch.tensor([2, 0, 3]))
    device_tensor = pinned.to("cuda", non_blocking=True) * 2

    repeated = torch.arange(3, device="cuda").repeat_interleave(device_tensor)

    assert repeated.tolist() == [0] * 4 + [2] * 6
    assert device_tensor[device_tensor > 3].shape == (2,)


def test_values_overwritten_by_unknown_ones_are_unknown(fake):
    device_tensor = torch.tensor([2, 1], device="cuda")
    view = device_tensor[:1]
    device_tensor.copy_(torch.rand(2, device="cuda"))

    assert view.tolist() == [0]
    with pytest.raises(UnknownValuesError, match=r"test_steps\.py"):
        device_tensor.nonzero()


def test_a_recorded_step_waits_once_for_its_tokens(counts):
    for step in (*counts.decode.values(), counts.drafted):
        assert step.recorded.num_synchronisations == 0
        assert step.recorded.num_operators > 20
        assert step.num_synchronisations == 1


def test_recorded_steps_have_nothing_forbidden(counts):
    assert counts.forbidden == []


def test_more_pages_move_more_and_launch_no_more(counts):
    one, two = counts.decode[1], counts.decode[2]

    more = two.num_bytes - one.num_bytes
    assert more >= counts.position_bytes * counts.page_positions
    assert two.num_operators == one.num_operators


def test_a_step_reads_every_weight_of_its_layers(counts):
    model = counts.weight_bytes
    table = 2 * TINY.config().image_token_id * TINY.text["hidden_size"]

    assert counts.decode[1].num_bytes > table
    assert counts.decode[1].num_bytes < model + table


def test_a_mixed_step_is_a_decode_step_and_a_chunk(counts):
    [last] = [step for step in counts.other_steps if "last chunk" in step.name]

    decode = counts.decode[2]
    assert counts.mixed.num_operators == decode.num_operators + last.num_operators
    assert counts.mixed.num_synchronisations <= MAX_MIXED_WAITS


def test_steps_wait_only_to_read_their_tokens(counts):
    other_steps = {step.name: step.num_synchronisations for step in counts.other_steps}

    assert {
        name: count for name, count in other_steps.items() if "encoding" not in name
    } == {
        "decode, 2 pages, not recorded": 1,
        **{name: 0 for name in other_steps if "earlier chunk" in name},
        **{name: 1 for name in other_steps if "last chunk" in name},
    }


def test_encoding_an_image_multiplies(counts):
    encodings = [step for step in counts.other_steps if "encoding" in step.name]

    assert len(encodings) == 2
    assert all(step.flops > 1e6 for step in encodings)


def test_pages_have_the_sizes_that_the_model_sees():
    chandra = GEOMETRIES["chandra"]

    assert a4_size(chandra) == (1600, 2240)
    assert largest_size(chandra) == (2048, 3072)


def test_estimates_are_bound_by_the_slowest_limit():
    gpu = GpuDataSheet("round", 1e9, 1e9, 1e12, 1.0)
    tally = OperatorTally()
    step = functools.partial(CountedStep, "step", eager=OperatorTally())
    tally.operators += [
        Operator("reads", 1, int(gpu.rates.bandwidth), 0),
        Operator("multiplies", 1, 0, int(2 * gpu.rates.flops)),
        Operator("launches", 1_000_000, 0, 0),
    ]

    seconds = steps.estimate_seconds(step(recorded=tally), gpu)

    assert seconds == pytest.approx(1 + 2 + 1e6 * steps.REPLAY_SECONDS)


def test_small_gpus_have_room_for_fewer_pages(counts):
    rooms = [
        counts.num_pages_that_fit(GPUS[name])
        for name in ("A10G", "L40S", "H100", "H200")
    ]

    assert rooms == sorted(rooms)


def test_room_is_that_of_the_engines_memory_plan(counts):
    gpu = GPUS["A10G"]
    plan = counts.plan_memory(gpu)

    held_bytes = plan.beside_cache_bytes + counts.weight_bytes + CONTEXT_BYTES
    cache_bytes = gpu.memory_bytes - held_bytes
    assert plan.room_tokens == pytest.approx(cache_bytes / counts.position_bytes, abs=1)
    assert counts.num_pages_that_fit(gpu) == plan.room_tokens // counts.page_positions


def test_the_report_says_that_seconds_are_estimates(counts, capsys):
    steps.print_report(counts)

    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert result["ratios"] == {
        "kernels_per_decode_step_tiny": counts.drafted.num_operators,
        "host_synchronisations_per_step": 1,
        "host_synchronisations_per_mixed_step": counts.mixed.num_synchronisations,
    }
    assert result["measured"] is False
    assert all(name in printed for name in GPUS)
    assert "Estimates from data sheets, nothing is measured" in printed


def test_the_report_fails_where_a_step_cannot_be_recorded(counts, capsys):
    faulty = CountedStep(
        "drafts", OperatorTally(forbidden=["random numbers"]), OperatorTally()
    )

    with pytest.raises(SystemExit, match="drafts: random numbers"):
        steps.print_report(replace(counts, drafted=faulty))

    assert "random numbers" in capsys.readouterr().out


def test_a_decode_step_of_chandra_launches_few_kernels():
    with fake_cuda() as fake, torch.inference_mode():
        TorchRunner(
            fake_model(GEOMETRIES["chandra"]),
            8 * 4600,
            graph_shapes=[Shape(8, 9)],
            record=fake.record,
        )

    [tally] = fake.recorded.values()
    assert tally.num_operators <= MAX_KERNELS, tally.by_name()
    assert tally.forbidden == []
