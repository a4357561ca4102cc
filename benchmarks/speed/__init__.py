"""How fast mien is, and how much memory it takes."""
