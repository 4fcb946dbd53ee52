"""Metrics, alarms, dashboards and logs of endpoints."""

from deploy.monitoring.alarms import ALARMS, OF_QUEUE, Alarm, queue_alarms
from deploy.monitoring.dashboard import dashboard_call
from deploy.monitoring.metrics import METRICS, QUEUE_METRICS, Metric, queries

__all__ = [
    "ALARMS",
    "METRICS",
    "OF_QUEUE",
    "QUEUE_METRICS",
    "Alarm",
    "Metric",
    "dashboard_call",
    "queries",
    "queue_alarms",
]
