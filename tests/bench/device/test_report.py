"""Report of answers, from results that a device could have produced."""

from __future__ import annotations

from typing import Any

import pytest

from bench.device.questions import QUESTIONS
from bench.device.report import render, report_path
from bench.runs.records import Records

ABOUT = {"device": "NVIDIA H100 80GB HBM3", "geometry": "chandra", "commit": "c"}
SIZES = ("A4", "letter", "largest")


def encoder_result(
    mean: float, first: float = 1.0, peak: int | None = 2**30
) -> dict[str, Any]:
    size = {
        "first_ms": first * mean,
        "second_ms": mean,
        "mean_ms": mean,
        "peak_bytes": peak,
    }
    return dict.fromkeys(SIZES, size)


def launch_result(
    pages: int, replay: float, roofline: float, eager: float
) -> dict[str, Any]:
    return {
        "pages": pages,
        "replay_ms": replay,
        "step_ms": replay + 0.2,
        "eager_ms": eager,
        "roofline_ms": roofline,
        "gigabytes_per_second": 15e3 / replay,
        "fraction_of_roofline": roofline / replay,
        "has_graphs": True,
    }


def native_result(pages: int, rate: float) -> dict[str, Any]:
    return {
        "in_flight": pages,
        "pages_per_second": rate,
        "tokens_per_second": 1200 * rate,
        "tokens_per_forward": 2.5,
        "fraction_of_roofline": 0.7,
        "graphs_recorded": 10,
        "recording_seconds": 5.0,
    }


@pytest.fixture
def records(tmp_path) -> Records:
    records = Records(tmp_path, ABOUT)
    case = {"error": 0.004, "error_replayed": 0.004, "is_same_in_company": True}
    records.add(
        "selftest",
        "operator",
        {"is_right": True, "largest_error_allowed": 0.02, "cases": {"1 query": case}},
    )
    steps = {"segments": {"error": 0.001}, "rows": {"error": 0.002}}
    records.add("selftest", "recorded step", {"is_right": True, "cases": steps})
    records.add("launches", "8 pages", launch_result(8, 6.0, 5.0, 25.0))
    times = {"1": 6.0, "2": 6.1, "3": 6.2, "5": 6.5, "9": 9.0, "13": 12.0, "20": 18.0}
    rows = {**times, "5": 6.4, "9": 6.6}
    records.add(
        "verification", "8 pages", {"pages": 8, "segments": times, "rows": rows}
    )
    records.add(
        "vision",
        "patch embedding",
        {
            "patches": 1024,
            "conv3d_ms": 9200.0,
            "linear_ms": 0.1,
            "is_projected": True,
            "largest_difference": 0.0,
        },
    )
    records.add(
        "vision", "encoder, torch's choice", encoder_result(80.0) | {"choice": "CUDNN"}
    )
    records.add("vision", "encoder, flash", encoder_result(90.0))
    records.add("vision", "encoder, cudnn", encoder_result(70.0, first=40.0))
    records.add("native", "8 in flight, graphs, drafts", native_result(8, 1.0))
    records.add("native", "8 in flight, graphs, no drafts", native_result(8, 0.5))
    records.add("baseline", "sequential", native_result(1, 0.05))
    return records


def find_answer(title: str, records: Records):
    [question] = [
        question for question in QUESTIONS if question.title.startswith(title)
    ]
    answer = question.answer(records)
    assert answer is not None
    return answer


def test_report_of_no_records_answers_no_question(tmp_path):
    records = Records(tmp_path, ABOUT)

    page = render(records)

    assert page.count("Not answered, because the part") == len(QUESTIONS)
    assert report_path(records).name == "nvidia-h100-80gb-hbm3-chandra-c-report.md"


def test_correct_operator_is_reported_with_its_error(records):
    answer = find_answer("Is the attention operator right?", records)

    assert answer.text == "yes"
    assert "largest error 0.0040" in answer.numbers


def test_report_of_a_wrong_operator_advises_a_setting(records):
    case = {"error": 0.5, "error_replayed": 0.5, "is_same_in_company": True}
    records.add("selftest", "operator", {"is_right": False, "cases": {"1 query": case}})

    answer = find_answer("Is the attention operator right?", records)

    assert answer.text.startswith("**no**")
    assert "set `attention` to torch" in answer.advice


def test_report_of_a_failed_operator_quotes_the_failure(records):
    records.add(
        "selftest", "operator", {"is_right": False, "failure": "no kernel", "cases": {}}
    )

    assert "no kernel" in find_answer("Is the attention operator right?", records).text


def test_a_step_near_its_roofline_is_not_limited_by_launches(records):
    answer = find_answer("Are launches the limit?", records)

    assert answer.text.startswith("no; without graphs they would be: 4.0 times")
    assert answer.advice == "leave Triton out; keep graphs on"


def test_a_step_far_above_its_roofline_asks_for_fusion(records):
    records.add("launches", "8 pages", launch_result(8, 9.0, 5.0, 25.0))

    answer = find_answer("Are launches the limit?", records)

    assert answer.text == "yes: a recorded step takes 1.8 times its roofline"


def test_report_states_roofline_share_and_bandwidth_of_decode(records):
    answer = find_answer("How far is decode", records)

    assert "8 pages: 83% (6.00 ms, 2500 GB/s)" in answer.numbers


def test_speedup_of_rows_over_segments_is_reported(records):
    answer = find_answer("Is split-KV lost", records)

    assert answer.text == "yes: rows are up to 1.36 times as fast"


def test_rows_and_segments_are_compared_by_pages_per_second(records):
    run = native_result(8, 1.25)
    records.add("draft rows", "8 in flight, graphs, drafts as rows", run)

    answer = find_answer("Is split-KV lost", records)

    assert "8 pages in flight: segments 1.00, rows 1.25 pages/s" in answer.numbers
    assert records.speeds()["pages_per_second"] == 1.0


def test_wrong_recorded_steps_name_the_setting(records):
    steps = {"segments": {"error": 0.5, "failure": "8 rows of 9"}}
    records.add("selftest", "recorded step", {"is_right": False, "cases": steps})

    answer = find_answer("Are recorded steps right?", records)

    assert answer.text == "**no**: 8 rows of 9"
    assert "`cuda_graphs` to false" in answer.advice


def serving_result(**measured: int) -> dict[str, Any]:
    planned = {"weights": 16 * 2**30, "fragments": 2**30}
    return {
        "largest_page": "read",
        "fallbacks": [],
        "free": 2**30,
        "start_seconds": 21.4,
        "check_seconds": {"attention": 1.5, "cuda_graphs": 9.0},
        "recording_seconds": {"8 x 9": 0.4, "8 x 1": 0.3},
        "terms": {
            name: {"planned": size, "measured": measured.get(name, size)}
            for name, size in planned.items()
        },
    }


def test_exceeded_term_of_the_memory_plan_is_named(records):
    records.add("memory", "as served", serving_result(fragments=3 * 2**30))
    records.data["allocator_gap_bytes"] = {"loaded": 0, "packed": 2**29}

    answer = find_answer("Does the memory plan hold?", records)

    assert answer.text == "yes, but more than planned for fragments"
    assert answer.advice == "plan more for fragments in memory_plan.py"
    assert "weights 16.00 of 16.00; fragments 3.00 of 1.00" in answer.numbers
    assert "0.50 after packing" in answer.numbers


def test_a_start_is_divided_into_checks_and_shapes(records):
    records.add("memory", "as served", serving_result())

    answer = find_answer("How long does a start take?", records)

    assert answer.text == "21 s beside reading the weights"
    assert "check of cuda_graphs 9.0 s" in answer.numbers
    assert "2 recorded shapes (rows x tokens: s): 8 x 9: 0.40" in answer.numbers


def test_free_tokens_are_those_within_a_tenth_of_one_token(records):
    assert find_answer("How many tokens can a step verify", records).text == "40 tokens"


def test_a_backend_that_compiles_for_each_size_is_not_advised(records):
    answer = find_answer("Which attention backend", records)

    assert answer.text == "flash; cudnn recompiles"
    assert "torch chooses CUDNN" in answer.numbers


def test_a_projected_convolution_is_marked(records):
    answer = find_answer("Is the patch embedding", records)

    assert answer.text == "yes: 92000 times"
    assert "(projected)" in answer.numbers


def test_drafts_are_compared_at_the_same_number_of_pages(records):
    answer = find_answer("Do drafts pay?", records)

    assert answer.text == "yes"
    assert answer.numbers == "8 pages: 2.00 times at 2.5 tokens a forward"


def test_report_computes_cost_per_page_from_the_price_table(records):
    page = render(records)

    # The machine costs $7.912 per hour and reads one page per second.
    assert "ml.p5.4xlarge $2.20" in page
    assert "ml.p5.48xlarge $2.20" in page


def test_failures_and_lack_of_time_are_reasons(records):
    records.fail("memory", "as served", "failed", "OutOfMemoryError: 2 GiB\nin f")
    records.fail("small", "drafts", "out of time", "not measured: out of time")

    page = render(records)

    assert (
        "Does the memory plan hold? Not answered, because as served: "
        "OutOfMemoryError: 2 GiB in f\n" in page
    )
    assert "- small: drafts: not measured: out of time" in page


def test_the_page_is_one_table_with_a_row_for_each_answer(records):
    rows = [line for line in render(records).splitlines() if line.startswith("| ")]

    answered = [
        question for question in QUESTIONS if question.answer(records) is not None
    ]
    assert len(rows) == 1 + len(answered)
    assert all(row.count(" | ") == 3 for row in rows)


@pytest.mark.parametrize("about", [{"device": "cpu"}, {"geometry": "tiny"}])
def test_a_run_without_a_gpu_gives_no_advice(tmp_path, about):
    records = Records(tmp_path, ABOUT | about)
    steps = {"is_right": False, "largest_error_allowed": 0.02, "cases": {}}
    records.add("selftest", "operator", steps)

    page = render(records)

    assert "Nothing here was measured on a GPU" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert all(row.endswith("| - |") for row in rows)
