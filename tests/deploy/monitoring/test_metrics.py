"""Metrics of an endpoint, as a table, as JSON and as a plot."""

from __future__ import annotations

from datetime import UTC, datetime

import PIL.Image
import pytest

pytestmark = pytest.mark.usefixtures("cloud")

OF_VARIANT = [
    {"Name": "EndpointName", "Value": "ocr"},
    {"Name": "VariantName", "Value": "AllTraffic"},
]
INVOCATIONS = "AWS/SageMaker"
MACHINES = "/aws/sagemaker/Endpoints"


@pytest.fixture
def put_metric(wire, at):
    """Return a function that writes values of a metric to CloudWatch."""

    def put(name, *values, minutes_ago=5, namespace=INVOCATIONS):
        when = datetime.fromtimestamp(at.now - 60 * minutes_ago, UTC)
        wire.call(
            "cloudwatch",
            "put_metric_data",
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": name,
                    "Dimensions": OF_VARIANT,
                    "Timestamp": when,
                    "Value": float(value),
                }
                for value in values
            ],
        )

    return put


@pytest.fixture
def three_hours(put_metric):
    """Write three hours of metrics; one page in a hundred takes almost a minute."""
    for quarter in range(12):
        ago = 15 * quarter + 5
        seconds = [0.1 * (n + 10 * (quarter % 4)) for n in range(1, 100)] + [55]
        put_metric("ModelLatency", *(1e6 * s for s in seconds), minutes_ago=ago)
        put_metric("Invocations", *[1] * 100, minutes_ago=ago)
        put_metric("Invocation5XXErrors", quarter % 3, minutes_ago=ago)
        for name, value in (
            ("GPUUtilization", 60 + 3 * quarter),
            ("GPUMemoryUtilization", 81),
            ("CPUUtilization", 12 + quarter),
            ("MemoryUtilization", 35),
            ("DiskUtilization", 22),
        ):
            put_metric(name, value, minutes_ago=ago, namespace=MACHINES)


def cells_of(ran, label):
    (series,) = (line for line in ran.out.splitlines() if line.startswith(f"{label}  "))
    return series.removeprefix(label).split()


def test_metrics_are_a_small_table(chandra, put_metric):
    put_metric("Invocations", 3, 4)

    ran = chandra("metrics")

    assert ran.status == 0, ran.err
    assert cells_of(ran, "invocations")[:3] == ["7", "7", "7"]
    assert cells_of(ran, "latency p99") == ["-", "-", "-"]
    assert "nothing was measured" not in ran.out


def test_missing_measurements_are_reported(chandra):
    ran = chandra("metrics", "--since", "30m")

    assert "nothing was measured in the last 30m" in ran.out


def test_percentiles_are_of_requests_in_seconds(chandra, put_metric):
    """A slow page in a hundred shows in p99, and not in the median."""
    put_metric("ModelLatency", *(1e4 * n for n in range(1, 99)), 55e6, 56e6)

    ran = chandra("metrics")

    assert cells_of(ran, "latency p50")[:3] == ["0.5s"] * 3
    assert cells_of(ran, "latency p90")[:3] == ["0.9s"] * 3
    assert cells_of(ran, "latency p99")[:3] == ["55s"] * 3


def test_table_has_latest_mean_and_highest(chandra, put_metric):
    for ago, seconds in ((170, 2), (90, 9), (5, 4)):
        put_metric("ModelLatency", 1e6 * seconds, minutes_ago=ago)

    ran = chandra("metrics")

    assert cells_of(ran, "latency p50") == ["4s", "5s", "9s", "▂", "█", "▄"]


def test_bars_are_aligned_with_their_timestamps(chandra, put_metric):
    """Bars of the same time are aligned, though metrics have other timestamps."""
    put_metric("GPUUtilization", 50, minutes_ago=170, namespace=MACHINES)
    for ago in (170, 30):
        put_metric("Invocations", 1, minutes_ago=ago)

    lines = chandra("metrics").out.splitlines()

    invocations, gpu = (
        next(line for line in lines if line.startswith(label))
        for label in ("invocations", "GPU  ")
    )
    assert invocations.index("█") == gpu.index("█")
    # There are twenty periods of seven minutes between them.
    assert invocations.rindex("█") - invocations.index("█") == 20


def test_json_has_every_value_with_its_time(chandra, put_metric, at):
    put_metric("ModelLatency", *[1e6] * 9, 7e6, minutes_ago=100)
    put_metric("ModelLatency", 3e6)

    series = chandra("metrics", "--json").json

    assert [point["value"] for point in series["latency p50"]] == [1.0, 3.0]
    assert [point["value"] for point in series["latency p99"]] == [7.0, 3.0]
    first, second = (
        at.now - datetime.fromisoformat(point["time"]).timestamp()
        for point in series["latency p50"]
    )
    assert 93 * 60 <= first <= 108 * 60
    assert second < first
    assert series["GPU"] == []


def test_metrics_are_plotted(chandra, three_hours, tmp_path):
    path = tmp_path / "metrics.png"

    ran = chandra("metrics", "--plot", str(path))

    assert ran.status == 0, ran.err
    assert f"wrote {path}" in ran.out
    with PIL.Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width >= 1000
        # The plot has coloured lines on white.
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 20) or ()) > 20


def test_metrics_without_values_are_plotted(chandra, tmp_path):
    path = tmp_path / "metrics.png"

    ran = chandra("metrics", "--plot", str(path))

    assert ran.status == 0, ran.err
    with PIL.Image.open(path) as picture:
        picture.load()


def test_dry_run_plots_nothing(chandra, three_hours, tmp_path):
    path = tmp_path / "metrics.png"

    assert chandra("metrics", "--plot", str(path), "--dry-run").status == 0
    assert not path.exists()


@pytest.mark.parametrize("name", ["missing/metrics.png", "metrics.nothing"])
def test_unwritable_plot_is_an_error(chandra, tmp_path, name):
    ran = chandra("metrics", "--plot", str(tmp_path / name))

    assert ran.status == 2
    assert "--plot with a writable path that ends in .png" in ran.err
