"""Measurements of `bench.gpu`, most important first.

Setup times are estimates for an H200 with the sizes of Chandra 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.costs.roofline import DeviceRates
from bench.device.decode_steps import (
    check_recorded_steps,
    count_kernels,
    time_launches,
    time_verification,
)
from bench.device.forward import compare_forward
from bench.device.hardware import Hardware
from bench.device.schedule import Item
from bench.device.serving import measure_serving, measure_workspace
from bench.device.vision import BACKENDS, encode_as_served, time_backend, time_patches
from bench.runs.probe import probe_operator, time_operator
from bench.runs.rates import measure_rates
from bench.runs.records import Records
from bench.runs.systems import MeasuredModel, NativeVariant
from bench.teacher_forcing.geometry import Geometry
from handler.engine.device.packed_weights import pack_text_model

__all__ = ["PARTS", "MeasurementOptions", "Measurements"]

PARTS = (
    "start",
    "selftest",
    "native",
    "launches",
    "vision",
    "verification",
    "memory",
    "draft rows",
    "operator speed",
    "baseline",
    "small",
)
_BATCHES = {
    1: ("sequential", 25.0),
    8: ("micro-batches of 8", 70.0),
    16: ("micro-batches of 16", 90.0),
}
"""Name and seconds of one batch, whose longest page has 3,000 tokens."""
_MODEL_SECONDS = 20.0
"""Setup time of the first item that needs the model, for its random weights."""


@dataclass(frozen=True, slots=True)
class MeasurementOptions:
    """Options of all measurements."""

    geometry: Geometry
    num_pages: int = 64
    in_flight: Sequence[int] = (1, 8, 32, 64)
    graphs: Sequence[bool] = (True, False)
    drafts: Sequence[bool] = (True, False)
    verified: int = NativeVariant(1).max_verified_tokens
    seconds: float | None = None
    """Duration of each measurement; None uses the item's own."""
    parts: Sequence[str] = PARTS


class Measurements:
    """Items of a run with the model that they share.

    The model is created when the first item needs it. Tests replace it through
    `make_stage`.
    """

    def __init__(
        self,
        options: MeasurementOptions,
        hardware: Hardware,
        records: Records,
        make_model: Callable[..., MeasuredModel] = MeasuredModel,
    ) -> None:
        self._options = options
        self._hardware = hardware
        self._records = records
        self._make_model = make_model

    def items(self) -> list[Item]:
        """Return the items of the chosen parts, most important first."""
        chosen = [
            item for item in self._list_items() if item.part in self._options.parts
        ]
        seconds = self._options.seconds
        if seconds is None:
            return chosen
        return [
            dataclasses.replace(item, least_seconds=seconds, seconds=seconds)
            for item in chosen
        ]

    def explain_refusal(self, item: Item) -> str | None:
        """Return why earlier results rule an item out; None if they do not."""
        if item.needs_operator:
            operator = self._records.part("selftest").get("operator", {})
            if operator.get("is_right") is False:
                why = operator.get("failure", "its values are not the reference's")
                return f"not measured: the attention operator is wrong: {why}"
        if item.needs_rates and "rates" not in self._records.part("start"):
            return "not measured: the rates of the device are unknown"
        return None

    def _list_items(self) -> Iterator[Item]:
        hardware = self._hardware
        device = hardware.device

        def environment(seconds: float) -> Any:
            return hardware.describe()

        def rates(seconds: float) -> Any:
            return dataclasses.asdict(measure_rates(device))

        yield Item("start", "environment", environment, 2)
        yield Item("start", "rates", rates, 5)
        yield Item("selftest", "operator", lambda seconds: probe_operator(device), 10)
        yield self._make_model_item(
            "selftest", "recorded step", check_recorded_steps, 20 + _MODEL_SECONDS
        )
        yield self._make_model_item("selftest", "forward", compare_forward, 4)
        yield from self._list_native(graphs=True, drafts=True)
        for count in self._options.in_flight:
            yield self._make_model_item(
                "launches", f"{count} pages", time_launches, 4, count
            )
        yield self._make_model_item("launches", "kernels of a step", count_kernels, 8)
        yield self._make_model_item("vision", "patch embedding", time_patches, 4)
        yield self._make_model_item("vision", "as served", encode_as_served, 4)
        for backend in BACKENDS:
            name = f"encoder, {backend}"
            yield self._make_model_item("vision", name, time_backend, 6, backend)
        for count in self._verified_pages():
            yield self._make_model_item(
                "verification", f"{count} pages", time_verification, 12, count
            )
        yield self._make_model_item("memory", "as served", measure_serving, 25)
        yield self._make_model_item("memory", "cublas workspace", measure_workspace, 1)
        yield from self._list_draft_rows()
        yield from self._list_native(graphs=True, drafts=False)
        yield Item("operator speed", "calls", lambda seconds: time_operator(device), 8)
        yield self._make_baseline_item(1)
        yield self._make_baseline_item(8)
        yield from self._list_small(drafts=True)
        yield from self._list_native(graphs=False, drafts=True)
        yield from self._list_small(drafts=False)
        yield from self._list_native(graphs=False, drafts=False)
        yield self._make_baseline_item(16)

    def _make_model_item(
        self,
        part: str,
        name: str,
        measure: Callable[..., Any],
        setup_seconds: float,
        *details: Any,
    ) -> Item:
        needs_operator = part not in ("vision",)

        def run(seconds: float) -> Any:
            return measure(self._measured_model, self._hardware, *details, seconds)

        return Item(
            part,
            name,
            run,
            setup_seconds,
            least_seconds=1.0,
            seconds=4.0,
            needs_operator=needs_operator,
            needs_rates=True,
        )

    def _list_native(self, *, graphs: bool, drafts: bool) -> Iterator[Item]:
        options = self._options
        if graphs in options.graphs and drafts in options.drafts:
            for count in options.in_flight:
                yield self._make_engine_item(
                    NativeVariant(count, graphs, drafts, options.verified)
                )

    def _list_draft_rows(self) -> Iterator[Item]:
        options = self._options
        if True in options.graphs and True in options.drafts:
            for count in self._verified_pages():
                native = NativeVariant(
                    count, max_verified_tokens=options.verified, draft_rows=True
                )
                yield self._make_engine_item(native, "draft rows")

    def _make_engine_item(self, native: NativeVariant, part: str = "native") -> Item:
        def run(seconds: float) -> Any:
            return self._measured_model.measure_native(native, seconds)

        return Item(
            part,
            native.name,
            run,
            setup_seconds=5 + 0.5 * native.in_flight,
            least_seconds=6,
            seconds=20,
            needs_operator=True,
            needs_rates=True,
        )

    def _make_baseline_item(self, size: int) -> Item:
        def run(seconds: float) -> Any:
            return self._measured_model.measure_generate(size, seconds)

        name, least = _BATCHES[size]
        return Item("baseline", name, run, 2, least, 1.2 * least, needs_rates=True)

    def _list_small(self, *, drafts: bool) -> Iterator[Item]:
        native = NativeVariant(0, True, drafts, self._options.verified)

        def run(seconds: float) -> Any:
            return self._measured_model.measure_small_cache(native, seconds)

        if drafts in self._options.drafts:
            yield Item(
                "small",
                "drafts" if drafts else "no drafts",
                run,
                setup_seconds=10,
                least_seconds=8,
                seconds=20,
                needs_operator=True,
                needs_rates=True,
            )

    def _verified_pages(self) -> list[int]:
        counts = [count for count in self._options.in_flight if count in (8, 32)]
        return counts or list(self._options.in_flight[:1])

    def _measure_gap_bytes(self) -> int | None:
        """Return the bytes that torch's allocator holds without a tensor."""
        self._hardware.release()
        memory = self._hardware.read_memory()
        return memory["reserved"] - memory["allocated"] if memory else None

    @cached_property
    def _measured_model(self) -> MeasuredModel:
        rates = DeviceRates(**self._records.part("start")["rates"])
        measured_model = self._make_model(
            self._options.geometry,
            self._hardware.device,
            rates,
            self._options.num_pages,
        )
        # Pack the weights now, so that all parts measure memory after it.
        gaps = {"loaded": self._measure_gap_bytes()}
        pack_text_model(measured_model.model.module.model.language_model)
        gaps["packed"] = self._measure_gap_bytes()
        self._records.data["allocator_gap_bytes"] = gaps
        self._records.data["parameters"] = measured_model.costs.total
        self._records.data["mean_output_tokens"] = measured_model.mean_length
        return measured_model
