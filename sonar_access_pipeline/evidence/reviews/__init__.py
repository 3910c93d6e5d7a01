"""Reviews of sealed packets: opened from one (`opening.py`), read back before they are signed
(`read_back.py`), filled in on a sheet (`sheet.py`).
"""
