"""Command `invoke`: one document through the endpoint."""
