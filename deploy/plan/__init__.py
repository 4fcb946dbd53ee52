"""Plans: their actions, and the executor that runs them."""
