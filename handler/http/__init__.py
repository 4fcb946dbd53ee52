"""HTTP requests and replies of the service: bodies, options, forms."""
