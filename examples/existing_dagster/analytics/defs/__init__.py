"""Definitions that `dg` finds by itself."""
