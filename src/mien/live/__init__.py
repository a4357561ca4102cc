"""The live view. The only package that may import pygame."""
