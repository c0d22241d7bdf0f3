"""`python -m cprspec` is `cprspec`, and where both begin."""

import sys


def main() -> None:
    """What `cli.main` does; Ctrl-C while its modules are imported is no error, either."""
    try:
        from cprspec.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
