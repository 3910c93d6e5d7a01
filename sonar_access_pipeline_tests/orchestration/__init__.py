"""Promises of `orchestration`."""
