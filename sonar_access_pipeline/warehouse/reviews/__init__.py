"""Reviews in the warehouse: their facts (`facts.py`), and what observations say of what they
demand (`follow_ups.py`).
"""
