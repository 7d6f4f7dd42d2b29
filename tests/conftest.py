"""What every test starts from: a clean copy of the template and a place to bake it."""

from pathlib import Path

import pytest

from bakery import ALL_CHOSEN, Bakery, copy_of_the_template
from environments import Environment, run


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as git would clone it."""
    return copy_of_the_template(tmp_path_factory.mktemp("source") / "template.git")


@pytest.fixture(scope="session")
def bakery(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Bakery:
    """The template, ready to bake; projects of the same answers are shared by all tests."""
    return Bakery(template, tmp_path_factory.mktemp("kitchen"))


@pytest.fixture(scope="session")
def environment(bakery: Bakery, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The tools that a generated project installs for itself, with every option chosen."""
    project = bakery.fresh_project(ALL_CHOSEN, tmp_path_factory.mktemp("environment"))
    run(["make", "install"], project)
    return Environment(project / "backend" / ".venv" / "bin", tmp_path_factory.mktemp("mypy"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; keep together what shares the generated environment."""
    items.sort(key=lambda item: "test_the_suite_" not in item.name)
    for item in items:
        if "environment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("environment"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how the generated suites ended, so that what they skipped is seen here as well."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    terminalreporter.write_line(f"{name}: {value}")
