"""Pages whose answers are predetermined, and models with random weights."""
