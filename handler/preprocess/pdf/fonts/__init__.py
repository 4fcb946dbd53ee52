"""Fonts for text whose font is not embedded in the PDF."""
