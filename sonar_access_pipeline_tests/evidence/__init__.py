"""Promises of `evidence`."""
