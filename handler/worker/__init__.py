"""The TorchServe worker's loop: open requests, readiness, metrics."""
