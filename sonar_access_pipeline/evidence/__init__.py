"""Packets: what had access in a window of days, what changed, and how we know; built from the
warehouse alone, and sealed.
"""
