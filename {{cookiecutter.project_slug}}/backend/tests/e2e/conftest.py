"""What the tests with Bugsink take from the command line."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshot",
        type=Path,
        metavar="FILE",
        help="save Bugsink's page of a failure; needs Chromium, and playwright in .venv",
    )
