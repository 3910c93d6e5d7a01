"""The only SQL: tables, migrations, the snapshot store, the history merge, queries.

SQLite and PostgreSQL, same code.
"""
