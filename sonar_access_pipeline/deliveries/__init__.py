"""Sealed evidence, put where somebody else keeps theirs: planned, sent once, read back, registered.

Add here: a target, as one file in `targets/`, with its kind in `settings_delivery.py`.
"""
