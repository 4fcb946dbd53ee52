"""Computation of the model with torch."""
