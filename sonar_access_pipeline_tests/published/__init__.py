"""Promises of `published`."""
