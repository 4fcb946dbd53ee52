"""Steps of the commands that start or follow a batch job."""
