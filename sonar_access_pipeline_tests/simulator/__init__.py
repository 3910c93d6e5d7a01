"""Promises of `simulator`."""
