"""Evaluation of a checkpoint: its reader, the pages it reads, and the results."""
