"""Recipes, scripts and figures of the teachers and of trials; see README.md."""
