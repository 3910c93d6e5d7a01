"""What access means: records, access rows, history's algebra, completeness.

Pure functions, no I/O of any kind.
"""
