"""What carries the service elsewhere: each file is valid, and does what it says."""

import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import postgresql
from bakery import ALL_CHOSEN, Bakery
from environments import Environment, run

Document = dict[str, Any]

ROLES = {"app", "app_owner", "app_system"}
OWNER_ALONE = [  # each would open a way around row-level security
    "ALTER TABLE projects NO FORCE ROW LEVEL SECURITY",
    "CREATE POLICY mine ON projects TO app USING (true)",
    "CREATE TABLE mine (id int)",
    "SET ROLE app_owner",
    "TRUNCATE projects CASCADE",
]


@pytest.fixture(scope="module")
def project(bakery: Bakery) -> Path:
    """A project of all options; nobody changes it."""
    return bakery.project(ALL_CHOSEN)


def check(program: str, *words: str | Path, directory: Path) -> None:
    """Run a checker from this environment; what it finds is the failure."""
    command = [Path(sys.executable).with_name(program), *words]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def document(path: Path) -> Document:
    """Read a YAML file of one document."""
    loaded = yaml.safe_load(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def setting_names(project: Path) -> set[str]:
    """Return the settings that the service knows."""
    source = (project / "backend/app/core/config.py").read_text()
    return set(re.findall(r"^    ([A-Z][A-Z_]+): ", source, re.MULTILINE))


def development_password(project: Path) -> str:
    """Return the one password that may be in a file, because production refuses it."""
    source = (project / "backend/app/core/config.py").read_text()
    (password,) = re.findall(r'^DEVELOPMENT_PASSWORD = "(.+?)"', source, re.MULTILINE)
    return str(password)


# The image


def instructions(project: Path, name: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile, wherever it stands."""
    joined = (project / "backend/Dockerfile").read_text().replace("\\\n", " ")
    return [
        line.partition(" ")[2].strip()
        for line in joined.splitlines()
        if line.startswith(f"{name} ")
    ]


def test_the_image_is_free_of_known_mistakes(project: Path) -> None:
    check("hadolint", "Dockerfile", directory=project / "backend")


def test_the_image_runs_as_a_numbered_user_who_is_not_root(project: Path) -> None:
    user, _, group = instructions(project, "USER")[-1].partition(":")
    assert user.isdecimal()
    assert int(user) > 0
    assert int(group) > 0


def test_only_what_the_image_copies_goes_to_the_builder(project: Path) -> None:
    ignored = (project / "backend/.dockerignore").read_text().splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    let_through = {line[1:] for line in patterns if line.startswith("!")}
    copied = {
        source.replace("uv.loc[k]", "uv.lock")
        for words in map(str.split, instructions(project, "COPY"))
        if not words[0].startswith("--from")
        for source in words[:-1]
    }
    assert patterns[0] == "*"
    assert let_through == copied


@pytest.mark.parametrize(("release", "files"), [("1.4.2", {"VERSION": "1.4.2"}), ("", {})])
def test_the_image_holds_the_release_that_it_is_built_as(
    project: Path, tmp_path: Path, release: str, files: dict[str, str]
) -> None:
    assert instructions(project, "ARG")[-1] == 'RELEASE=""'
    run(["sh", "-euc", instructions(project, "RUN")[-1]], tmp_path, RELEASE=release)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve one status for `/health/live`, 404 for the rest, and yield the port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/live" else 599)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (400, True), (500, False)])
def test_the_health_check_tells_life_from_failure(
    project: Path, status: int, healthy: bool
) -> None:
    with answering(status) as port:
        assert (health_check(project, port) == 0) is healthy


def test_the_health_check_tells_death(project: Path) -> None:
    with answering(200) as port:
        pass
    assert health_check(project, port) != 0


def health_check(project: Path, port: int) -> int:
    """Run the image's health check as Docker does, and return its exit code."""
    (options_and_command,) = instructions(project, "HEALTHCHECK")
    program, *words = json.loads(options_and_command.partition("CMD ")[2])
    assert program == "python"
    # A proxy in the environment must not be asked about the service itself.
    environment = os.environ | {"PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, *words]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


# Compose


@pytest.fixture(scope="module")
def compose(project: Path) -> Document:
    """The compose file."""
    return document(project / "compose.yaml")


def test_compose_is_valid(project: Path) -> None:
    schema = "vendor.compose-spec"
    check("check-jsonschema", "--builtin-schema", schema, "compose.yaml", directory=project)


def test_compose_gives_each_database_url_a_role_of_its_own(compose: Document) -> None:
    environment = compose["services"]["migrate"]["environment"]
    urls = {name: value for name, value in environment.items() if name.endswith("DATABASE_URL")}
    roles = {name: re.findall(r"^postgresql\+asyncpg://(\w+):", url) for name, url in urls.items()}
    assert roles == {
        "DATABASE_URL": ["app"],
        "SYSTEM_DATABASE_URL": ["app_system"],
        "MIGRATION_DATABASE_URL": ["app_owner"],
    }


def test_only_the_migration_knows_the_owner_of_the_tables(compose: Document) -> None:
    who_knows = [name for name, each in compose["services"].items() if "app_owner" in str(each)]
    assert who_knows == ["migrate"]


def test_compose_sets_what_the_service_knows(project: Path, compose: Document) -> None:
    for name in ("migrate", "app"):
        assert set(compose["services"][name]["environment"]) <= setting_names(project)


def test_compose_is_reached_from_this_machine_alone(compose: Document) -> None:
    ports = [port for each in compose["services"].values() for port in each.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_container_of_compose_is_confined(compose: Document) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


# Kubernetes


@pytest.fixture(scope="module")
def manifests(project: Path) -> dict[str, Document]:
    """Every manifest by its kind."""
    files = [yaml.safe_load_all(path.read_text()) for path in manifest_paths(project)]
    return {each["kind"]: each for file in files for each in file}


def manifest_paths(project: Path) -> list[Path]:
    """Return the manifests: all but kustomize's own file."""
    directory = project / "deploy/kubernetes"
    return sorted(set(directory.iterdir()) - {directory / "kustomization.yaml"})


def pod(manifest: Document) -> Document:
    """Return the pod that a workload makes."""
    template: Document = manifest["spec"]["template"]
    return template


def test_every_manifest_is_valid(project: Path) -> None:
    paths = manifest_paths(project)
    assert paths
    check("kubernetes-validate", "--strict", *paths, directory=project)


def test_kustomize_takes_every_manifest(project: Path) -> None:
    kustomization = document(project / "deploy/kubernetes/kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in manifest_paths(project)]


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_are_confined(manifests: dict[str, Document], kind: str) -> None:
    spec = pod(manifests[kind])["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in spec["containers"]:
        assert container["resources"]["limits"]["memory"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_selectors_find_the_api_and_not_the_migration(manifests: dict[str, Document]) -> None:
    selectors = {
        "Deployment": manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        "PodDisruptionBudget": manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        "Service": manifests["Service"]["spec"]["selector"],
    }
    api = pod(manifests["Deployment"])["metadata"]["labels"].items()
    migration = pod(manifests["Job"])["metadata"]["labels"].items()
    for kind, selector in selectors.items():
        assert selector.items() <= api, kind
        assert not selector.items() <= migration, kind
    both = manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items()
    assert both <= api
    assert both <= migration


def test_only_the_migration_is_given_its_secret(manifests: dict[str, Document]) -> None:
    def secrets(kind: str) -> list[str]:
        (container,) = pod(manifests[kind])["spec"]["containers"]
        return [each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each]

    (shared,) = secrets("Deployment")
    assert secrets("Job") == [shared, f"{shared}-migration"]


def test_probes_ask_what_they_mean_by_a_trusted_name(
    project: Path, manifests: dict[str, Document]
) -> None:
    (container,) = pod(manifests["Deployment"])["spec"]["containers"]
    probes = {name: each["httpGet"] for name, each in container.items() if name.endswith("Probe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    (host,) = {header["value"] for probe in probes.values() for header in probe["httpHeaders"]}
    assert host in json.loads(kubernetes_settings(project)["TRUSTED_HOSTS"])


def test_kubernetes_sets_what_the_service_knows(project: Path) -> None:
    settings = kubernetes_settings(project)
    assert settings["ENVIRONMENT"] == "production"
    assert set(settings) <= setting_names(project)


def kubernetes_settings(project: Path) -> dict[str, str]:
    """Return the settings that kustomize puts into the ConfigMap."""
    kustomization = document(project / "deploy/kubernetes/kustomization.yaml")
    (generator,) = kustomization["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


# GitHub


def test_the_workflow_is_valid(project: Path) -> None:
    for schema, path in {
        "vendor.github-workflows": ".github/workflows/ci.yml",
        "vendor.dependabot": ".github/dependabot.yml",
    }.items():
        check("check-jsonschema", "--builtin-schema", schema, path, directory=project)


def test_the_workflow_is_safe(project: Path) -> None:
    check("zizmor", "--offline", "--quiet", ".", directory=project)


def test_the_workflow_leaves_no_token_behind(project: Path) -> None:
    workflow = document(project / ".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if "actions/checkout@" in step.get("uses", "")]
    assert len(checkouts) == len(workflow["jobs"])
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_workflow_calls_targets_that_exist(project: Path) -> None:
    jobs = document(project / ".github/workflows/ci.yml")["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {words[1] for words in map(shlex.split, commands) if words[0] == "make"}
    targets = set(re.findall(r"^([a-z0-9-]+):", (project / "Makefile").read_text(), re.MULTILINE))
    assert called == {"lint", "test"}
    assert called <= targets


def test_the_workflow_tries_every_python_that_is_promised(project: Path) -> None:
    jobs = document(project / ".github/workflows/ci.yml")["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]


def test_dependabot_looks_where_there_is_something(bakery: Bakery) -> None:
    for docker, kinds in {
        "yes": ["github-actions", "uv", "docker"],
        "no": ["github-actions", "uv"],
    }.items():
        project = bakery.project({**ALL_CHOSEN, "include_docker": docker})
        updates = document(project / ".github/dependabot.yml")["updates"]
        assert [update["package-ecosystem"] for update in updates] == kinds
        assert all((project / update["directory"].strip("/")).is_dir() for update in updates)


# Secrets

CREDENTIALS = re.compile(
    r"""://[^\s/:@]+:([^\s/@]+)@                                    # in a URL
      | [A-Z_]*(?:PASSWORD|SECRET|TOKEN|KEY|DSN)["']?[:=]\s*(\S+)   # in an environment
      | PASSWORD\s+'([^']*)'                                        # in SQL
    """,
    re.VERBOSE,
)


def test_no_file_holds_a_secret_but_the_password_for_development(project: Path) -> None:
    allowed = development_password(project)
    paths = [project / "compose.yaml", project / "backend/Dockerfile"]
    paths += [
        path
        for directory in ("deploy", ".github")
        for path in (project / directory).rglob("*")
        if path.is_file()
    ]
    found = {
        (path.relative_to(project).as_posix(), secret)
        for path in paths
        for match in CREDENTIALS.findall(path.read_text())
        for secret in match
        if secret
    }
    assert {secret for _, secret in found} == {allowed}
    assert {path for path, _ in found} == {
        ".github/workflows/ci.yml",
        "compose.yaml",
        "deploy/postgres/roles.sql",
    }


# The database


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[postgresql.Server]:
    """A server on which the script of compose has made the roles and the database."""
    if (binaries := postgresql.programs()) is None:
        reason = "no PostgreSQL server on this machine (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with postgresql.running(binaries, development_password(project)) as running:
        done = running.psql(f"--file={project / 'deploy/postgres/roles.sql'}")
        assert done.returncode == 0, done.stderr
        yield running


def test_no_role_is_above_row_level_security(server: postgresql.Server) -> None:
    listed = server.psql(
        "--command=SELECT rolname FROM pg_roles WHERE rolname LIKE 'app%' AND rolcanlogin"
        " AND NOT (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"
    )
    assert set(listed.stdout.split()) == ROLES
    memberships = server.psql(
        "--command=SELECT count(*) FROM pg_auth_members WHERE member::regrole::text LIKE 'app%'"
    )
    assert memberships.stdout.strip() == "0"


def test_the_database_belongs_to_the_owner_of_its_tables(server: postgresql.Server) -> None:
    owner = server.psql("--command=SELECT datdba::regrole FROM pg_database WHERE datname = 'app'")
    assert owner.stdout.strip() == "app_owner"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_signs_in_to_the_database(server: postgresql.Server, role: str) -> None:
    assert server.psql("--command=SELECT 1", user=role, database="app").stdout.strip() == "1"


# Writes through the service's own door, as the application does.
ADD_A_PROJECT = """
import asyncio, sys
from app.projects.models import Project
from app.tenancy import tenant_session

async def add(tenant: str) -> None:
    async with tenant_session(tenant) as session:
        session.add(Project(name=f"plan of {tenant}"))

asyncio.run(add(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def migrated(
    server: postgresql.Server, project: Path, compose: Document, environment: Environment
) -> postgresql.Server:
    """The server after what compose does: migrations as `migrate`, two tenants as `app`."""

    def as_service(name: str, *words: str) -> None:
        settings = {
            setting: value.replace("@database/", f"@{server.address}/")
            for setting, value in compose["services"][name]["environment"].items()
        }
        command: list[str | Path] = [environment.bin / "python", *words]
        run(command, project / "backend", ENV_FILE="", PYTHONDONTWRITEBYTECODE="1", **settings)

    program, *migrate = compose["services"]["migrate"]["command"]
    assert program == "python"
    as_service("migrate", *migrate)
    for tenant in ("acme", "globex"):
        as_service("app", "-m", "app", "tenant", "create", tenant)
        as_service("app", "-c", ADD_A_PROJECT, tenant)
    return server


def in_tenant(tenant: str, statement: str) -> str:
    """Return a transaction of a tenant, as the application begins one."""
    return f"BEGIN; SELECT set_config('app.tenant_id', '{tenant}', true); {statement}; COMMIT"


@pytest.mark.parametrize(
    ("role", "statement", "seen"),
    [
        ("app", in_tenant("acme", "SELECT name FROM projects"), ["plan of acme"]),
        ("app", in_tenant("globex", "SELECT name FROM projects"), ["plan of globex"]),
        ("app", in_tenant("initech", "SELECT name FROM projects"), []),
        ("app", "SELECT name FROM projects", []),
        ("app_owner", "SELECT name FROM projects", []),
        ("app_system", "SELECT name FROM projects ORDER BY 1", ["plan of acme", "plan of globex"]),
    ],
)
def test_each_role_sees_what_is_its_own(
    migrated: postgresql.Server, role: str, statement: str, seen: list[str]
) -> None:
    done = migrated.psql("--quiet", f"--command={statement}", user=role, database="app")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("plan of")] == seen


def test_nobody_writes_into_another_tenant(migrated: postgresql.Server) -> None:
    steal = in_tenant("acme", "UPDATE projects SET tenant_id = 'globex'")
    done = migrated.psql(f"--command={steal}", user="app", database="app")
    assert "row-level security" in done.stderr


@pytest.mark.parametrize("role", ["app", "app_system"])
@pytest.mark.parametrize("statement", OWNER_ALONE)
def test_a_role_that_serves_cannot_open_a_way_around(
    migrated: postgresql.Server, role: str, statement: str
) -> None:
    done = migrated.psql(f"--command={statement}", user=role, database="app")
    assert re.search("must be owner|permission denied", done.stderr), done
