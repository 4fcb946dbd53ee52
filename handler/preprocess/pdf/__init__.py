"""PDF pages: what a viewer shows of them, and the text they carry."""
