"""HTML of a page: its parser, sanitiser, and functions on the tree."""
