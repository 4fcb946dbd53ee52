"""Measurements that ship with `deploy`."""

from __future__ import annotations

import json
from importlib import resources

from bench.shipped import RESULTS, render_measurements
from deploy.machines.throughput import SHIPPED, rate_of


def test_shipped_measurements_equal_the_results():
    shipped = resources.files("deploy.machines").joinpath(SHIPPED)

    assert shipped.read_text("utf-8") == render_measurements(RESULTS), (
        "run python -m bench.shipped"
    )


def test_only_results_of_chandra_are_shipped(tmp_path):
    measured = {
        "device": "NVIDIA H100",
        "geometry": "chandra",
        "pages_per_second": 2.0,
        "parts": {"engine": {}},
    }
    (tmp_path / "h100.json").write_text(json.dumps(measured))
    (tmp_path / "tiny.json").write_text(json.dumps(measured | {"geometry": "tiny"}))
    (tmp_path / "torn.json").write_text("{")

    del measured["parts"]
    assert json.loads(render_measurements(tmp_path)) == {"h100.json": measured}


def test_rates_do_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    expected = rate_of("L40S")
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)
    (folder / "l40s.json").write_text(
        '{"device": "NVIDIA L40S", "geometry": "chandra", "pages_per_second": 9}'
    )

    monkeypatch.chdir(tmp_path)

    assert rate_of("L40S") == expected
