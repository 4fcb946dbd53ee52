"""Batch transform jobs of the emulator."""
