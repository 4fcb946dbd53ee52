"""Decoding of TIFF frames."""
