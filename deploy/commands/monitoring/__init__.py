"""Commands that show logs and metrics, and create alarms and dashboards."""
