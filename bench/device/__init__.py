"""Measurements of `bench.gpu` on a device, their order, and the report of answers."""
