"""The reviewers' page."""
