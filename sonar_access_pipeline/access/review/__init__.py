"""The rules of an access review: what is to decide (`items.py`), who decides it (`people.py`),
which of it is news (`classes.py`), when a decision is accepted and what follows from all facts
together (`deciding.py`), what is signed (`statements.py`), and whether what was decided was done
(`follow_up.py`). Pure: nothing here reads, writes or knows the time.
"""
