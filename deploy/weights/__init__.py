"""Model weights: local files, the Hugging Face hub, and upload to S3."""
