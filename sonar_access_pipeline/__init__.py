"""Who has access to SonarCloud, on any day, proven."""

__version__ = "0.1.0"
