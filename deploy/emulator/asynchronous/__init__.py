"""Asynchronous endpoints of the emulator."""
