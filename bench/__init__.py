"""Measurements behind the numbers in docs/benchmarks.md: `make bench-NAME` runs bench/NAME.py."""
