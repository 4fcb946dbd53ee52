"""Real-time endpoints: planning, inspection, schedules."""
