"""An existing Dagster project."""
