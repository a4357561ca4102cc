"""Millions of images. The only package that may import ray."""
