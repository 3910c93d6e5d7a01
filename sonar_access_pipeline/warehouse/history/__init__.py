"""What follows from what was read: the merge into history tables, and the same again, to compare or
to replace.
"""
