"""Decoding of images to RGB pixels."""
