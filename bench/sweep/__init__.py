"""Post every file of a folder to a server, and compare pages with other renderers."""
