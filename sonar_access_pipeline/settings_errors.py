"""The error of a setting, apart from the settings: whoever only names it does not load them."""

from __future__ import annotations


class SettingsError(Exception):
    """A setting is missing or malformed; the sentence names the variable and what it should be."""
