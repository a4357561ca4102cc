"""Millions of images: the only package that imports ray."""
