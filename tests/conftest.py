"""Options of the test suite. Being here also puts this folder on the path, so that tests share gloo.py."""

from pathlib import Path


def pytest_addoption(parser):
    parser.addoption("--golden", type=Path, help="folder of golden vectors; without it, the small copies in tests/")
