"""The source: HTTP, paging, retries.

Knows SonarCloud's endpoints, knows no tables. Only ever sends GET.
"""
