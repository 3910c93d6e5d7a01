"""A SonarCloud on loopback: faithful, evolving, breakable.

Standard library only, and nothing of the pipeline.

It shares no code with what it tests: its own idea of who has access (`Organization.truth`) is the
independent truth.
"""
