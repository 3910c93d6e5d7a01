"""What was said and sealed: alerts, packets and keys, policies and rules.

Append-only but for what is told of alerts.
"""
