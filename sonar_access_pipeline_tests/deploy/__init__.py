"""Promises of the files under `deploy/`."""
