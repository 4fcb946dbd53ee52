"""Runs TorchServe with our archive: for a laptop, for the tests, for the demo."""
