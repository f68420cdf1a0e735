"""`python -m exspin` is the command `exspin`."""

from exspin.cli import main

main()
