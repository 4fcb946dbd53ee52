"""Weights of a model: where they come from, and their verification."""
