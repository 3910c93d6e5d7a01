"""What a person must hear of: problems, what is said of them and when, the next try of a sync, and
the channels. No Dagster.
"""
