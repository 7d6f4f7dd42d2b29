"""Log lines: one for each record, and nothing private in it."""

import logging
import subprocess
import sys

import pytest

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

# A handler of another part, whose formatting fails.
FAILING_HANDLER = """
import logging
from app.observability.logging import configure
configure("INFO")
logging.getLogger().addHandler(logging.StreamHandler())
logging.getLogger("app").error("%d orders for %s", "planted", "planted")
"""

UNCAUGHT = """
import threading, warnings
from app.observability.logging import configure
configure("INFO")
PLANTED = "jane.roe" + "@example.org"
"""


def line_of(message: str, *values: object, error: BaseException | None = None) -> str:
    trace = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("app", logging.ERROR, __file__, 1, message, values, trace)
    return ScrubbingFormatter().format(record)


def test_a_value_that_is_private_is_taken_out() -> None:
    line = line_of("mail to %s failed", "jane.roe@example.org")
    assert line.endswith("ERROR app [-] mail to [EMAIL] failed")


def test_what_can_not_be_formatted_is_not_printed_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = line_of("%d orders for %s", "planted", "jane.roe@example.org")
    assert line.endswith("ERROR app [-] [not logged: test_logging:1 (TypeError)]")
    assert capsys.readouterr().err == ""


def test_a_handler_that_fails_prints_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FAILING_HANDLER], capture_output=True, text=True, check=True
    )
    assert "planted" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    "end",
    [
        "raise ValueError(PLANTED)",
        "threading.Thread(target=int, args=[PLANTED]).start()",
        "type('X', (), {'__del__': lambda self: int(PLANTED)})()",
        "warnings.warn(PLANTED)",
    ],
)
def test_what_the_interpreter_would_print_is_logged_through_the_filter(end: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", UNCAUGHT + end], capture_output=True, text=True, check=False
    )
    assert "[EMAIL]" in run.stderr or "[Filtered]" in run.stderr
    assert "jane.roe" not in run.stdout + run.stderr


def test_the_name_of_a_logger_is_filtered() -> None:
    record = logging.LogRecord("mail.jane.roe@example.org", 40, __file__, 1, "x", (), None)
    assert "jane" not in ScrubbingFormatter().format(record)


def test_the_stack_of_a_call_is_filtered() -> None:
    record = logging.LogRecord("app", 40, __file__, 1, "x", (), None, sinfo="login('jane@x.org')")
    assert ScrubbingFormatter().format(record).endswith("x\nlogin('[EMAIL]')")


def test_what_another_formatter_made_of_an_exception_is_not_used() -> None:
    try:
        raise ValueError("password=planted")
    except ValueError as error:
        record = logging.LogRecord(
            "app", 40, __file__, 1, "x", (), (ValueError, error, error.__traceback__)
        )
    logging.Formatter().format(record)
    assert "planted" not in ScrubbingFormatter().format(record)
    assert "planted" in logging.Formatter().format(record)  # what others see is theirs


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
