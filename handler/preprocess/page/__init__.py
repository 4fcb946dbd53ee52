"""Examine the pixels of a page: lines of text, and strips of long pages."""
