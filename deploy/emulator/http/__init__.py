"""HTTP of the emulator: its server, and its clients of the backend and containers."""
