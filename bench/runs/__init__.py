"""Runs of engines over pages, their measurements and their results."""
