"""The tables that the data team sees, as files for other engines: the only room that knows Parquet.

Add here: another form of file. What is in a table is the warehouse's business.
"""
