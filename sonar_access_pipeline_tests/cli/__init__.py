"""Promises of `cli`."""
