"""The benchmark for a GPU, as far as a processor can show it: with a tiny model."""

from __future__ import annotations

import json

import pytest
import torch

from bench.gpu import main
from bench.records import Records


@pytest.mark.slow
def test_all_parts_run_one_by_one_and_add_to_one_file(tmp_path, capsys):
    common = ["--device", "cpu", "--geometry", "tiny", "--results", str(tmp_path)]
    common += ["--pages", "3", "--seconds", "0.01"]

    for part in (
        ["baseline"],
        ["native", "--in-flight", "1", "--graphs", "off"],
        ["native", "--in-flight", "3", "--graphs", "on"],
        ["native", "--in-flight", "1", "--graphs", "on", "--drafts", "on"],
        ["small", "--drafts", "on"],
        ["probe"],
    ):
        main([*common, "--part", *part])

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    [path] = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    parts = found["parts"]
    assert path.with_suffix(".png").stat().st_size > 0
    assert path.name.startswith("cpu-tiny-")
    assert set(parts) == {"probe", "baseline", "native", "small"}
    assert set(parts["probe"]) == {"operator", "rates"}
    assert set(parts["baseline"]) == {
        "sequential",
        "micro-batches of 8",
        "micro-batches of 16",
    }
    assert set(parts["native"]) == {
        "1 in flight, graphs, drafts",
        "1 in flight, no graphs, drafts",
        "1 in flight, no graphs, no drafts",
        "3 in flight, graphs, drafts",
        "3 in flight, graphs, no drafts",
    }
    assert set(parts["small"]) == {"drafts"}
    for run in parts["native"].values():
        assert run["pages_per_second"] > 0
        assert 0 < run["fraction_of_roofline"] < 1
        assert run["tokens_per_forward"] >= 1
        assert run["step_ms"]["p50"] <= run["step_ms"]["p95"]
        assert 0 < run["decode_share"] + run["prefill_share"] <= 1
    assert parts["native"]["3 in flight, graphs, drafts"]["graphs_recorded"] > 0
    assert parts["small"]["drafts"]["a10g_projection"]["tokens_per_second"] > 0
    assert found["parameters"] > 0
    # What a deployment's cost is counted with.
    assert found["pages_per_second"] == max(
        run["pages_per_second"] for run in parts["native"].values()
    )
    alone = parts["native"]["1 in flight, graphs, drafts"]
    assert found["pages_per_second_single"] == alone["pages_per_second"]
    assert last["ratios"] == pytest.approx(found["ratios"])
    assert "one_page_tokens_per_second_vs_sequential" in last["ratios"]


def test_a_device_that_is_not_there_is_said_so():
    if torch.cuda.is_available():
        pytest.skip("there is one")

    with pytest.raises(SystemExit, match="no CUDA device"):
        main(["--part", "probe"])


def test_a_wrong_operator_stops_everything(tmp_path):
    about = {"device": "cpu", "geometry": "tiny", "commit": None}
    arguments = ["--device", "cpu", "--geometry", "tiny", "--results", str(tmp_path)]
    main([*arguments, "--part", "probe"])
    [path] = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    records = Records(tmp_path, {**about, "commit": found["commit"]})
    records.add("probe", "operator", {"is_right": False, "failure": "no kernel"})

    with pytest.raises(SystemExit, match="no kernel"):
        main([*arguments, "--part", "native"])


def test_ratios_are_those_there_are_measurements_for(tmp_path):
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
