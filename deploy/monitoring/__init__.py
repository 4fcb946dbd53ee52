"""Metrics, alarms, dashboards and logs of an endpoint."""

from deploy.monitoring.alarms import ALARMS, QUEUE_ALARM_SUFFIXES, Alarm, queue_alarms
from deploy.monitoring.dashboard import dashboard_call
from deploy.monitoring.metrics import METRICS, QUEUE_METRICS, Metric, queries

__all__ = [
    "ALARMS",
    "METRICS",
    "QUEUE_ALARM_SUFFIXES",
    "QUEUE_METRICS",
    "Alarm",
    "Metric",
    "dashboard_call",
    "queries",
    "queue_alarms",
]
