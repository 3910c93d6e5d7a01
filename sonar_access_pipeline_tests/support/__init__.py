"""What tests share: builders, servers, deployments, and what a released version left.

Nothing outside the tests imports it.
"""
