"""Rendering of PDF pages as a viewer shows them, and extraction of their text layer."""
