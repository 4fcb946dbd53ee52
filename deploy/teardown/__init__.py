"""Deletion of a deployment, without what other deployments use."""
