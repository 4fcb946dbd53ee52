"""Chandra OCR behind TorchServe: bytes in, document out.

`handler.service` is what TorchServe loads; README.md in this folder follows one
request through the rest.
"""

__version__ = "0.1.0"
