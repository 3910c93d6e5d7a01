"""Promises of `warehouse`."""
