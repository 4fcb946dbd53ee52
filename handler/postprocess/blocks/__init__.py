"""Blocks of a page: their labels, boxes and HTML, and joining across strips."""
