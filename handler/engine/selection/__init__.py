"""Choice and construction of the engine and its execution mode."""
