"""Documents to read: finding them, checking them, and naming their results."""
