"""Measurements, run by hand: `make benchmark`. Ratios inside one run, against a named peer."""
