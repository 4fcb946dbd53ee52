"""Choice and self-test of the engine's execution mode."""
