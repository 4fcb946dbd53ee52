"""Steps that several commands on an endpoint share: checks, changes, status."""
