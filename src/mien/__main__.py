"""`python -m mien` is the command `mien`."""

from mien.cli import main

main()
