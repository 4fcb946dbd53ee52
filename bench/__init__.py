"""What the project claims in numbers, one command a claim."""
