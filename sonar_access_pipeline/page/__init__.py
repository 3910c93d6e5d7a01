"""The reviewers' page: the only room that serves people over HTTP.

It writes the facts of reviews through `warehouse/reviews/facts.py`, as sheet and command line do.
It knows no token of Sonar's and no Dagster.
"""
