"""`python -m windthrow` is the command line."""

from windthrow.cli.app import main

main()
