"""Orientation of pages: rendered pages, the classifier's training, its error rates."""
