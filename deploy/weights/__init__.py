"""Model weights: files, hub, upload to S3."""
