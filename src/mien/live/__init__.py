"""The live view: the only package that imports pygame."""
