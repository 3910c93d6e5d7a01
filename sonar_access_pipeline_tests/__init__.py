"""Promises of the project, each as a test; what they share lies in modules without `test_` before
their names.
"""

import os

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
"""Whether all is run, as `make proofs` does: `make test` runs long tests in a short form, or on one
of the databases.
"""
