"""Tests of the command `cost`."""

from __future__ import annotations

import json

import pytest

from deploy.machines.throughput import ESTIMATE_NOTE, ESTIMATES

pytestmark = pytest.mark.usefixtures("staged")


def test_cost_says_that_estimates_are_estimates(chandra, cloud):
    ran = chandra("cost", "--pages-a-day", "5000")

    assert ran.status == 0, ran.err
    assert "estimates, not measurements" in ran.out
    assert "measured" not in ran.out.replace("estimates, not measurements", "")
    assert "ml.g4dn" not in ran.out
    assert "prices: on demand in us-east-1, September 2026" in ran.out
    assert cloud.calls == []


def test_savings_of_a_stop_are_for_all_day_endpoints(chandra):
    always = chandra("cost")
    by_day = chandra("cost", "--hours-a-day", "8")

    assert "stopping ml.g6.xlarge from 19:00 to 08:00 saves" in always.out
    assert "stopping" not in by_day.out


def test_measurement_replaces_an_estimate(chandra, tmp_path):
    (tmp_path / "l40s.json").write_text(
        json.dumps(
            {"device": "NVIDIA L40S", "geometry": "chandra", "pages_per_second": 0.5}
        )
    )
    folder = str(tmp_path)

    ran = chandra(
        "cost", "--instance-type", "ml.g6e.2xlarge", "--results", folder, "--json"
    ).json

    offers = ran["offers"]
    assert offers[0]["measured_in"].endswith("l40s.json")
    assert offers[0]["together"]["pages_an_hour"] == 1800
    # There is no measurement of one page at a time.
    assert [offers[0][kind]["is_measured"] for kind in ("single", "together")] == [
        False,
        True,
    ]
    assert offers[0]["single"]["pages_an_hour"] == 3600 * ESTIMATES["L40S"].single
    assert ran["note"] == ESTIMATE_NOTE


def test_measured_rates_have_no_note_on_estimates(chandra, tmp_path):
    (tmp_path / "l40s.json").write_text(
        '{"device": "NVIDIA L40S", "geometry": "chandra", "pages_per_second": 0.5, '
        '"pages_per_second_single": 0.04}'
    )
    arguments = ["--instance-type", "ml.g6e.2xlarge", "--results", str(tmp_path)]

    ran = chandra("cost", *arguments)

    assert "estimate" not in ran.out
    assert chandra("cost", *arguments, "--json").json["note"] is None


def test_machines_are_enough_for_the_given_hours(chandra):
    offer = chandra(
        "cost",
        "--pages-a-day",
        "10000",
        "--hours-a-day",
        "10",
        "--instance-type",
        "ml.g6e.2xlarge",
        "--json",
    ).json["offers"][0]

    a_machine = ESTIMATES["L40S"].single * 36_000
    assert offer["single"]["machines"] == int(10_000 / a_machine) + 1
    assert offer["single"]["a_day"] == pytest.approx(offer["single"]["machines"] * 28.0)


def test_cost_explains_why_a_machine_is_left_out(chandra, cloud):
    ran = chandra("cost", "--instance-type", "ml.g4dn.2xlarge")
    among = chandra(
        "cost", "--instance-type", "ml.g5.2xlarge", "--instance-type", "ml.g9.huge"
    )

    assert ran.status == 2
    assert "has a T4 with 16 GB" in ran.err
    assert among.status == 0
    assert "note: ml.g9.huge is not in the catalogue" in among.err
