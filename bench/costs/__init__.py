"""Work of forward passes, counted and estimated without a device."""
