"""What is left after a kill."""
