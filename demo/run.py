"""Generates a service, runs it, and shows what it promises; ends with 1 if anything is not so."""

import json
import sqlite3
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from listener import Event, Listener
from service import Answer, DemonstrationError, Person, install, run, running
from template_source import copy_template

PROJECTS = "/api/v1/projects"
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")

# What alice types and sends when the service fails: none of it may be in the report.
PRIVATE_NAME = "Call jane.roe@example.org, card 4111 1111 1111 1111"
PRIVATE_QUERY = "email=jane.roe@example.org"
PREVIEWED = ("ERROR", "TAGS")  # parts of the preview that are shown here
PRIVATE_PARTS = ("jane", "roe", "example.org", "4111")


def main() -> int:
    """Show all of it; say what is not so, if anything is."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="demo-") as directory:
            project = generate(Path(directory))
            demonstrate(project)
    except DemonstrationError as error:
        print(f"\n{BOLD}This is not so:{PLAIN} {error}", file=sys.stderr)
        return 1
    print(f"\nAll of it is true, was seen in {time.monotonic() - started:.0f} s, and is removed.")
    return 0


def generate(directory: Path) -> Path:
    """Generate a project through the command line that the README documents."""
    settings = directory / "cookiecutter.yaml"
    settings.write_text(f"replay_dir: {directory / 'replay'}\n")
    words = ["--no-input", "project_name=Demo", "--config-file", str(settings)]
    cookiecutter = str(Path(sys.executable).with_name("cookiecutter"))
    with step("Generate", "cookiecutter, with the default answers"):
        template = copy_template(directory / "template")
        run([cookiecutter, str(template), *words, "-o", str(directory)], directory)
    project = directory / "demo"
    with step("Install", "make install, into the project's own environment"):
        install(project)
    return project


def demonstrate(project: Path) -> None:
    """Run the service, and show two tenants and an error."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(Listener()))
        with step("Start", "make run, on SQLite"):
            service = running(project, SENTRY_DSN=listener.dsn, ENV_FILE="")
            url = stack.enter_context(service)
        alice = newcomer(project, url, "alice", "acme")
        bob = newcomer(project, url, "bob", "globex")
        keep_apart(alice, bob)
        report(project, alice, listener)


def app(project: Path, *words: str) -> str:
    """Run a command of the service's own command line, and return what it prints."""
    backend = project / "backend"
    return run([str(backend / ".venv" / "bin" / "python"), "-m", "app", *words], backend)


def newcomer(project: Path, url: str, name: str, tenant: str) -> Person:
    """Create a tenant and make a token for someone of it."""
    app(project, "tenant", "create", tenant)
    token = app(project, "token", "--tenant", tenant, "--user", name).strip()
    return Person(name, tenant, token, url)


def keep_apart(alice: Person, bob: Person) -> None:
    """Show that two tenants write and read the same API, and neither sees the other."""
    headline("alice works for acme, bob for globex: one service, one database")
    show(Person("nobody", "", "no-token", alice.url), f"GET {PROJECTS}", 401)
    paths = {}
    for person, name in ((alice, "Rocket skates"), (bob, "Weather machine")):
        made = show(person, f"POST {PROJECTS}", 201, {"name": name})
        paths[person.name] = f"{PROJECTS}/{made.json['id']}"
        tasks = f"{paths[person.name]}/tasks"
        show(person, f"POST {tasks}", 201, {"title": "Sell it"}, shown=f"{PROJECTS}/(that)/tasks")
    for person, name in ((alice, "Rocket skates"), (bob, "Weather machine")):
        listed = show(person, f"GET {PROJECTS}", 200).json["items"]
        check([each["name"] for each in listed] == [name], f"{person.name} sees {name}, no more")
    for person, other in ((alice, bob), (bob, alice)):
        shown = f"{PROJECTS}/({other.name}'s)"
        theirs = show(person, f"GET {paths[other.name]}", 404, shown=shown)
        shown = f"{PROJECTS}/(made up)"
        unknown = show(person, f"GET {PROJECTS}/{uuid.uuid4()}", 404, shown=shown)
        same = theirs.without_request_id == unknown.without_request_id
        check(same, "the two answers are the same, to the byte, but for the request's id")


def report(project: Path, alice: Person, listener: Listener) -> None:
    """Break the service while alice sends something private, and show what is reported."""
    headline("the table of projects is gone: alice's request fails, and Sentry hears of it")
    with closing(sqlite3.connect(project / "backend" / ".data" / "app.db")) as database:
        database.execute("DROP TABLE projects")
    request = f"POST {PROJECTS}?{PRIVATE_QUERY}"
    answer = show(alice, request, 500, {"name": PRIVATE_NAME}, shown=PROJECTS)
    event = listener.wait_for_event(seconds=10)
    if event is None:
        raise DemonstrationError("the failure is reported within ten seconds")
    print_excerpt(event)
    sent = b"".join(listener.received).decode()
    check(not [part for part in PRIVATE_PARTS if part in sent], "no word of what alice typed left")
    check(alice.token not in sent and alice.token.split(".")[2] not in sent, "nor did her token")
    tags = event["tags"]
    check(tags == tags | {"tenant_id": "acme"}, "the report names the tenant")
    check(answer.headers["X-Request-ID"] in sent, "and the request that alice can quote")

    headline("what would leave for another error: python -m app privacy preview")
    _, _, *parts = app(project, "privacy", "preview").strip().split("\n\n")
    shown = [part for part in parts if part.startswith(PREVIEWED)]
    check(
        len(shown) == len(PREVIEWED), f"{len(parts)} parts, each before and after; these are some"
    )
    print(textwrap.indent("\n".join(shown), "    "))


@contextmanager
def step(name: str, what: str) -> Iterator[None]:
    """Tell what is done, and how long it took."""
    print(f"{BOLD}{name:<10}{PLAIN}{what:<56}", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except DemonstrationError:
        print("failed")
        raise
    print(f"{DIM}{time.monotonic() - started:5.1f} s{PLAIN}")


def headline(text: str) -> None:
    """Open a part of the demonstration."""
    print(f"\n{BOLD}{text[0].upper()}{text[1:]}.{PLAIN}")


def check(holds: bool, sentence: str) -> None:
    """Print a sentence that holds; one that does not ends the demonstration."""
    if not holds:
        raise DemonstrationError(sentence)
    print(f"  {BOLD}\N{CHECK MARK}{PLAIN} {sentence}")


def show(person: Person, request: str, status: int, body: object = None, shown: str = "") -> Answer:
    """Call the service and print the call; it has to answer with the status."""
    method, path = request.split()
    answer = person.call(method, path, body)
    short = (shown or path).removeprefix("/api/v1")
    detail = json.dumps(body) if body else told(answer)
    print(f"  {person.name:<7}{method:<5}{short:<25}{answer.status}  {DIM}{detail}{PLAIN}")
    if answer.status != status:
        raise DemonstrationError(f"the answer is {status}; it is {answer.body.decode()}")
    return answer


def told(answer: Answer) -> str:
    """Return what an answer tells, in a few words."""
    content = answer.json
    if "items" in content:
        return ", ".join(each["name"] for each in content["items"])
    return str(content.get("detail", ""))


def print_excerpt(event: Event) -> None:
    """Print the parts of an event that tell who, where and what."""
    parts = ("level", "environment", "release", "transaction", "user", "tags", "request")
    excerpt = {name: event[name] for name in parts if name in event}
    *_, raised = event["exception"]["values"]
    excerpt["exception"] = f"{raised['type']}: {raised['value']}"
    frames = raised["stacktrace"]["frames"]
    ours = [frame for frame in frames if frame["filename"].startswith("app/")]
    excerpt["raised by"] = f"{ours[-1]['filename']}, line {ours[-1]['lineno']}"
    for name, value in excerpt.items():
        print(f"    {DIM}{name:<12}{PLAIN}{json.dumps(value, ensure_ascii=False)}")


if __name__ == "__main__":
    sys.exit(main())
