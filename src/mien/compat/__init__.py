"""Drop-in replacements for parts of other packages: change an import, keep the rest."""
