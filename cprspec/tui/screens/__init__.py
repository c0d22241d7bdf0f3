"""One screen of the monitor per module."""
