"""GPU benchmark, run with a tiny model on a CPU."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from bench.costs.roofline import DeviceRates
from bench.device.decode_steps import WIDTHS, check_recorded_steps, time_verification
from bench.device.hardware import Hardware
from bench.device.items import PARTS, MeasurementOptions, Measurements
from bench.device.questions import QUESTIONS
from bench.gpu import BUDGET_SECONDS, main, measure, write_report
from bench.runs.recorder import record_replay
from bench.runs.records import Records
from bench.runs.systems import MeasuredModel, NativeVariant
from bench.teacher_forcing.geometry import TINY

CPU = Hardware(torch.device("cpu"))
ABOUT = {"device": "cpu", "geometry": "tiny", "commit": "c"}
README = Path(__file__).parents[2] / "bench" / "README.md"


OPTIONS = MeasurementOptions(TINY, num_pages=3, in_flight=(1,), seconds=0.01)


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path, capsys):
    records = Records(tmp_path, ABOUT)

    assert measure(OPTIONS, CPU, records, lambda: 3600.0)
    write_report(records)

    parts = records.data["parts"]
    assert set(parts) == set(PARTS)
    assert {item["state"] for item in records.items().values()} == {"measured"}
    assert parts["vision"]["encoder, cudnn"] == {"skipped": "needs a CUDA device"}
    for run in parts["native"].values():
        assert run["pages_per_second"] > 0
        assert 0 < run["fraction_of_roofline"] < 1
        assert run["tokens_per_forward"] >= 1
        assert run["step_ms"]["p50"] <= run["step_ms"]["p95"]
        assert 0 < run["decode_share"] + run["prefill_share"] <= 1
    assert parts["native"]["1 in flight, graphs, drafts"]["graphs_recorded"] > 0
    assert parts["small"]["drafts"]["a10g_projection"]["tokens_per_second"] > 0
    assert records.data["parameters"] > 0
    # These two values ship with `chandra-sagemaker`.
    assert records.data["pages_per_second"] == max(
        run["pages_per_second"] for run in parts["native"].values()
    )
    assert records.data["pages_per_second_single"] > 0
    assert records.path.with_suffix(".png").stat().st_size > 0
    page = (tmp_path / "cpu-tiny-c-report.md").read_text()
    assert "How far is decode from the roofline at 1, 8, 32 and 64 pages? |" in page
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ratios"] == pytest.approx(records.data["ratios"])
    assert "one_page_tokens_per_second_vs_sequential" in last["ratios"]


@pytest.mark.slow
def test_a_second_run_continues_after_the_report(tmp_path, capfd):
    common = ["--device", "cpu", "--geometry", "tiny", "--results", str(tmp_path)]
    common += ["--seconds", "0.01", "--budget", "120", "--part", "start"]

    main(common)
    [path] = tmp_path.glob("*.json")
    first = json.loads(path.read_text())["parts"]["start"]["rates"]
    main(common)
    second = json.loads(path.read_text())["parts"]["start"]["rates"]

    assert first == second
    out = capfd.readouterr().out
    assert "Not answered, because the part `native` was not run" in out
    assert json.loads(out.splitlines()[-1])["bench"] == "gpu"


def test_a_missing_device_is_reported():
    if torch.cuda.is_available():
        pytest.skip("there is one")

    with pytest.raises(SystemExit, match="no CUDA device"):
        main(["--part", "start"])


def test_a_wrong_operator_stops_only_its_users(tmp_path):
    records = Records(tmp_path, ABOUT)
    records.add("start", "rates", {"bandwidth": 1.0, "flops": 1.0})
    records.add("selftest", "operator", {"is_right": False, "failure": "no kernel"})
    measurements = Measurements(OPTIONS, CPU, records)

    refusal_reasons = {
        item.part: reason
        for item in measurements.items()
        if (reason := measurements.explain_refusal(item))
    }

    assert "no kernel" in refusal_reasons["native"]
    assert {"native", "small", "launches", "verification"} <= set(refusal_reasons)
    assert not {"start", "vision", "baseline"} & set(refusal_reasons)


def test_without_rates_there_is_no_roofline(tmp_path):
    measurements = Measurements(OPTIONS, CPU, Records(tmp_path, ABOUT))

    items = measurements.items()

    assert [item.part for item in items if not measurements.explain_refusal(item)] == [
        "start",
        "start",
        "selftest",
        "operator speed",
    ]


def test_headline_items_directly_follow_the_checks(tmp_path):
    chosen = MeasurementOptions(TINY)

    items = Measurements(chosen, CPU, Records(tmp_path, ABOUT)).items()

    parts = list(dict.fromkeys(item.part for item in items))
    assert parts == list(PARTS)
    assert [item.name for item in items if item.part == "native"][:4] == [
        NativeVariant(count).name for count in (1, 8, 32, 64)
    ]


def test_the_most_important_items_fit_into_ten_minutes(tmp_path):
    items = Measurements(
        MeasurementOptions(TINY), CPU, Records(tmp_path, ABOUT)
    ).items()
    important_items = [
        item for item in items if item.part in PARTS[: PARTS.index("memory") + 1]
    ]
    # Variants without graphs or drafts are measured after these parts.
    important_items = [item for item in important_items if "no " not in item.name]

    seconds_needed = sum(
        item.setup_seconds + item.least_seconds for item in important_items
    )

    assert seconds_needed < 0.75 * BUDGET_SECONDS


@pytest.fixture(scope="module")
def measured_model() -> MeasuredModel:
    return MeasuredModel(TINY, CPU.device, DeviceRates(1e9, 1e9), num_pages=2)


@pytest.mark.slow
def test_generate_runs_after_the_native_engine_on_one_model(measured_model):
    native = measured_model.measure_native(NativeVariant(1), 0.01)
    generated = measured_model.measure_generate(1, 0.01)

    assert native["tokens_per_second"] > 0
    assert generated["pages_ended"] == 1


@pytest.mark.slow
def test_a_step_that_is_never_replayed_is_detected(measured_model):
    def record_without_replay(compute):
        return compute(), lambda: None

    with_replay = check_recorded_steps(measured_model, CPU, 0.0, record_replay)
    without_replay = check_recorded_steps(
        measured_model, CPU, 0.0, record_without_replay
    )

    assert with_replay["is_right"]
    assert not without_replay["is_right"]
    assert (
        without_replay["cases"]["rows"]["error"]
        > without_replay["largest_error_allowed"]
    )


@pytest.mark.slow
def test_tokens_as_rows_are_timed_beside_segments(measured_model):
    times = time_verification(measured_model, CPU, 1, 0.0)

    kinds = ("segments", "rows", "segments_step", "rows_step")
    assert {tuple(times[kind]) for kind in kinds} == {tuple(map(str, WIDTHS))}
    assert min(times["rows"].values()) > 0


def test_readme_lists_the_questions_of_the_report():
    text = README.read_text(encoding="utf-8")
    _, _, section = text.partition("### Open questions that need a GPU")
    section, _, _ = section.partition("\n#")

    listed = re.findall(r"^- \*\*(.+?)\*\*", section, flags=re.MULTILINE)

    assert listed == [question.title for question in QUESTIONS]


def test_ratios_need_their_measurements(tmp_path):
    records = Records(
        tmp_path, {"device": "NVIDIA X 80GB", "geometry": "g", "commit": "c"}
    )
    run = {"tokens_per_second": 1.0, "fraction_of_roofline": 0.7}

    records.add(
        "native", "64 in flight, graphs, drafts", {**run, "pages_per_second": 6.0}
    )
    records.add(
        "native", "8 in flight, graphs, drafts", {**run, "pages_per_second": 3.0}
    )
    records.add("baseline", "sequential", {**run, "pages_per_second": 0.1})

    assert records.path.name == "nvidia-x-80gb-g-c.json"
    assert records.ratios() == pytest.approx(
        {"fraction_of_roofline_8": 0.7, "pages_per_second_vs_sequential": 60}
    )


def test_a_result_file_is_replaced_as_a_whole(tmp_path):
    records = Records(tmp_path, ABOUT)
    records.add("start", "rates", {"bandwidth": 1.0})
    before = records.path.read_text()

    with pytest.raises(TypeError):
        records.add("start", "broken", object())

    assert records.path.read_text() == before
    assert list(tmp_path.iterdir()) == [records.path]
