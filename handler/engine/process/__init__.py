"""Engine processes: start, messages, supervision."""
