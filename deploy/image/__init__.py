"""Container images: build, archive, repair and push to ECR."""
