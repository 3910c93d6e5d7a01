"""The only Dagster: partitions, assets, checks, jobs, schedules, sensors.

Thin: the work is done by the other rooms.
"""
