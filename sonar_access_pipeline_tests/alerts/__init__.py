"""Promises of `alerts`."""
