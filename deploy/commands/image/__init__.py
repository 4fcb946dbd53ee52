"""Command `image`: build, push and check of the container image."""
