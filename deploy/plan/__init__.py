"""Plans: actions, their execution and their waits."""
