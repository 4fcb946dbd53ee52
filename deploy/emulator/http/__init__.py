"""HTTP of the emulator: its front, the backend behind it, and its containers."""
