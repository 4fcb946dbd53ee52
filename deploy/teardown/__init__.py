"""Removal of a deployment, and of what other deployments share."""
