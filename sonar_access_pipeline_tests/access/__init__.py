"""Promises of `access`."""
