"""One widget of the monitor per module."""
