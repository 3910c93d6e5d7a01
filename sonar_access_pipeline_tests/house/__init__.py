"""Promises of the whole: its layers, its documentation, what was released, and what stands around
it.
"""
