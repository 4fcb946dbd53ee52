"""Preparation of annotations and form fields for rendering."""
