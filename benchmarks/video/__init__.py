"""Benchmarks of what mien makes of videos over time."""
