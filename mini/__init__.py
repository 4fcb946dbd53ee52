"""Makes `model-store/mini`, the small checkpoint that ships with the code."""
