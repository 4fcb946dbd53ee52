"""Orientation of pages: training of the classifier and its error rates."""
