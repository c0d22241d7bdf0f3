"""`python -m cprspec` is `cprspec`."""

from cprspec.cli import main

main()
