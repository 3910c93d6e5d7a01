"""Promises of `sonarcloud`."""
