"""Documents in S3 and in temporary files."""
