"""Dashboards and alerts are right: promtool tries them, and a real Prometheus that saw a real run."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakery import ALL_CHOSEN, PROJECT, Bakery
from environments import Environment
from monitored import PHASES, Panel, Seen, configuration, filled, named, panels, watched
from pictures import draw
from template_source import REPOSITORY

MONITORING = "deploy/monitoring"
ALERTS = {
    *("ServiceDown", "HighErrorRate", "ErrorBudgetBurn", "HighLatency", "PoolSaturated"),
    *("OperationFailing", "LogLinesDropped", "TokenFailures"),
    *("TenantErrorRate", "TenantLatency", "QuotaRefusals"),
}
OF_TELEMETRY = {"TelemetryDropped", "TelemetryOff", "TelemetryBudgetSpent"}
DASHBOARDS = ("dashboard.json", "telemetry.json")
# They hold no answer, and are the same in every project.
PANELS = [
    panel for name in DASHBOARDS for panel in panels(REPOSITORY / PROJECT / MONITORING / name)
]

SELECTOR = re.compile(
    r"(?P<around>\w+\()?(?P<name>[a-z][\w:]*)\{(?P<matchers>[^}]*)\}(?P<range>\[)?"
)
PARTS = ("_bucket", "_count", "_sum")  # of a histogram
OF_PROMETHEUS = {"up": "gauge"}
OWN_LABELS = {"job", "instance"}  # which Prometheus itself gives each series

Rule = dict[str, Any]


@pytest.fixture(params=["yes", "no"])
def project(request: pytest.FixtureRequest, bakery: Bakery) -> Path:
    """A project with reports, and one without."""
    return bakery.project({**ALL_CHOSEN, "include_sentry": request.param})


def program(name: str) -> str:
    """Return a program of Debian's package prometheus."""
    if (found := shutil.which(name)) is None:
        reason = f"no {name} on this machine (Debian: apt-get install prometheus)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return found


def promtool(directory: Path, *words: str) -> None:
    command = [program("promtool"), *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules(project: Path) -> list[Rule]:
    """Return all rules of a project."""
    document = yaml.safe_load((project / MONITORING / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def alerts(project: Path) -> list[Rule]:
    """Return the rules of a project that are alerts."""
    return [rule for rule in rules(project) if "alert" in rule]


# What can be said without a run


def test_promtool_accepts_the_rules(project: Path) -> None:
    promtool(project / MONITORING, "check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")


def test_each_alert_fires_when_it_should_and_is_silent_when_it_should(project: Path) -> None:
    promtool(project / MONITORING, "test", "rules", "alerts_test.yaml")


def test_promtool_accepts_the_configuration_that_the_readme_shows(
    project: Path, tmp_path: Path
) -> None:
    shown = configuration(project)
    (scrape,) = shown["scrape_configs"]
    (tmp_path / "token").write_text("x")
    scrape["authorization"]["credentials_file"] = "token"
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(shown))
    shutil.copy(project / MONITORING / "alerts.yaml", tmp_path)
    promtool(tmp_path, "check", "config", "prometheus.yaml")


def test_the_rules_go_by_the_name_that_the_readme_gives_the_job(project: Path) -> None:
    (scrape,) = configuration(project)["scrape_configs"]
    for rule in rules(project):
        for selector in SELECTOR.finditer(rule["expr"]):
            assert f'job="{scrape["job_name"]}"' in selector["matchers"], rule


def test_there_is_no_trace_of_reports_where_there_are_none(bakery: Bakery) -> None:
    project = bakery.project({**ALL_CHOSEN, "include_sentry": "no"})
    files = {path.name: path.read_text() for path in (project / MONITORING).iterdir()}
    assert files.keys() == {"alerts.yaml", "alerts_test.yaml", "dashboard.json"}
    assert not [name for name, text in files.items() if "telemetry" in text.lower()]
    assert {alert["alert"] for alert in alerts(project)} == ALERTS


def test_each_alert_says_what_is_wrong_and_where_to_read_on(bakery: Bakery) -> None:
    every = alerts(bakery.project(ALL_CHOSEN))
    assert {alert["alert"] for alert in every} == ALERTS | OF_TELEMETRY
    for alert in every:
        assert alert["labels"].keys() == {"severity"}
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}
        assert alert["annotations"]["runbook"] == f"runbook.md#{alert['alert'].lower()}"


def test_the_runbook_has_a_section_for_each_alert_and_for_no_other(project: Path) -> None:
    _, _, of_alerts = (project / "runbook.md").read_text().partition("\n## Alerts\n")
    sections = re.findall(r"^### (\w+)$", of_alerts.partition("\n## ")[0], re.MULTILINE)
    assert sorted(sections) == sorted({alert["alert"] for alert in alerts(project)})


def test_each_alert_is_tried(bakery: Bakery) -> None:
    text = (bakery.project(ALL_CHOSEN) / MONITORING / "alerts_test.yaml").read_text()
    tried = re.findall(r'labels: .*ALERTS\{alertname="(\w+)"', text)
    assert set(tried) == ALERTS | OF_TELEMETRY


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_each_panel_is_of_the_service_that_is_chosen(panel: Panel) -> None:
    for _, query in panel.queries:
        selectors = list(SELECTOR.finditer(query))
        assert selectors
        assert all('job="$job"' in selector["matchers"] for selector in selectors)


# What a run shows


@pytest.fixture(scope="module")
def seen(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A run of the service in which one thing after the other went wrong."""
    program("prometheus")
    backend = environment.bin.parents[1]
    with watched(backend, tmp_path_factory.mktemp("monitored"), in_short=True) as run:
        yield run


@pytest.fixture(scope="module")
def types(seen: Seen) -> dict[str, str]:
    """The types of what the service measures, by name."""
    return OF_PROMETHEUS | dict(re.findall(r"^# TYPE (\S+) (\S+)$", seen.metrics, re.MULTILINE))


def test_every_request_of_the_run_was_answered(seen: Seen) -> None:
    assert seen.statuses[0] == 0
    assert {200, 201, 401, 404, 429, 500} <= seen.statuses.keys()


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_each_query_of_a_panel_returns_data(seen: Seen, panel: Panel) -> None:
    for legend, query in panel.queries:
        found = seen.series(filled(query, seen.prometheus.job))
        numbers = [value for series in found for _, value in series.points]
        assert any(map(math.isfinite, numbers)), query
        for series in found:
            assert "" not in re.split(" |: ", named(legend, series.labels)), (legend, series.labels)


def assert_taken_for_what_it_is(query: str, types: dict[str, str], metrics: str) -> None:
    """Counters are rated, gauges are not; each metric and label that is named exists."""
    for selector in SELECTOR.finditer(query):
        name, is_rated = selector["name"], selector["around"] in {"rate(", "increase("}
        if ":" in name:  # of a recording rule, which has no other labels
            assert not selector["range"]
            assert set(re.findall(r"(\w+)[=!]", selector["matchers"])) == {"job"}
            continue
        of_histogram = [name.removesuffix(part) for part in PARTS if name.endswith(part)]
        kind = types.get(name) or types[of_histogram[0]]
        assert (kind == "histogram") == bool(of_histogram), name
        assert (kind == "counter") == name.endswith("_total"), name
        # A counter without a range is one of which it is asked only whether it is there.
        is_there = "unless" in query and kind == "counter"
        assert is_rated == bool(selector["range"]) == (kind != "gauge") or is_there, query
        existing = set(re.findall(rf"^{name}\{{(.*)\}}", metrics, re.MULTILINE))
        labels = {label for each in existing for label in re.findall(r'(\w+)="', each)}
        asked = set(re.findall(r"(\w+)(?:=|!)~?\"", selector["matchers"]))
        assert asked <= labels | OWN_LABELS, (query, asked, labels)
        if "histogram_quantile" in query:
            assert re.search(r"by \([\w, ]*\ble\b", query)


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_a_panel_takes_metrics_for_what_they_are(
    seen: Seen, types: dict[str, str], panel: Panel
) -> None:
    for _, query in panel.queries:
        assert_taken_for_what_it_is(query, types, seen.metrics)


def test_rules_take_metrics_for_what_they_are(
    seen: Seen, types: dict[str, str], bakery: Bakery
) -> None:
    for rule in rules(bakery.project(ALL_CHOSEN)):
        assert_taken_for_what_it_is(rule["expr"], types, seen.metrics)


def test_each_alert_is_raised_by_what_went_wrong(seen: Seen) -> None:
    raised = {series.labels["alertname"] for series in seen.series("ALERTS")}
    expected = {name for phase in PHASES for name in phase.raises}
    # One that can't report at its start is another service.
    assert expected == (ALERTS | OF_TELEMETRY) - {"ServiceDown", "TelemetryOff"}
    # A scrape may time out where everything waits for a processor; two minutes of that do not.
    assert raised - {"ServiceDown"} == expected
    assert not seen.series('ALERTS{alertname="ServiceDown",alertstate="firing"}')


def test_every_rule_was_evaluated_and_what_it_tells_names_what_it_is_about(seen: Seen) -> None:
    evaluated = [
        rule for group in seen.prometheus.ask("rules")["groups"] for rule in group["rules"]
    ]
    assert {rule["health"] for rule in evaluated} == {"ok"}
    for rule in evaluated:
        told = " ".join(rule.get("annotations", {}).values())
        for alert in rule.get("alerts", ()):
            assert set(re.findall(r"\$labels\.(\w+)", told)) <= alert["labels"].keys()


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_can_be_drawn(seen: Seen, dashboard: str) -> None:
    shown = panels(REPOSITORY / PROJECT / MONITORING / dashboard)
    picture = draw(shown, seen)
    assert picture.count('class="frame"') == len(shown)
    assert picture.count("<polyline") >= len(shown)
