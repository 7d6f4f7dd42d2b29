"""Log lines: one for each record, and nothing private in it."""

import logging
import subprocess
import sys

from app.observability.logging import ScrubbingFormatter

# A process that the server's own command has begun to configure, before the application does.
STARTED_BY_UVICORN = """
import logging.config, uvicorn.config
logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
from app.observability.logging import configure
configure("INFO")
logging.getLogger("uvicorn.error").error("failed for jane.roe@example.org")
logging.getLogger("uvicorn.access").info("GET /?token=planted")
"""


def line_of(message: str, *values: object, error: BaseException | None = None) -> str:
    trace = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("app", logging.ERROR, __file__, 1, message, values, trace)
    return ScrubbingFormatter().format(record)


def test_a_value_that_is_private_is_taken_out() -> None:
    line = line_of("mail to %s failed", "jane.roe@example.org")
    assert line.endswith("ERROR app [-] mail to [EMAIL] failed")


def test_a_line_break_does_not_make_a_second_record() -> None:
    assert "\n" not in line_of("called by %s", "bob\n2026-01-01 INFO app [-] all is well\r")


def test_an_exception_has_its_stack_and_nothing_private() -> None:
    try:
        raise ValueError("password=planted for jane.roe@example.org")
    except ValueError as error:
        text = line_of("it failed", error=error)
    assert "test_an_exception_has_its_stack" in text
    assert "ValueError: password=[Filtered] for [EMAIL]" in text


def test_a_process_that_uvicorn_starts_logs_through_the_filter_too() -> None:
    run = subprocess.run(
        [sys.executable, "-c", STARTED_BY_UVICORN], capture_output=True, text=True, check=True
    )
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert run.stderr.endswith("ERROR uvicorn.error [-] failed for [EMAIL]\n")
