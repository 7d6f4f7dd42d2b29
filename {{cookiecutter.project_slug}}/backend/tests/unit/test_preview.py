"""What a person is told of what leaves: the preview, as text and as a page, and PRIVACY.md."""

import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sentry_sdk.consts import DEFAULT_OPTIONS
from sentry_sdk.envelope import Envelope, Item, PayloadRef

from app.__main__ import main
from app.core import config
from app.core.config import Settings
from app.telemetry import Event, EventFilter
from app.telemetry.preview import (
    MODES,
    NOT_ALLOWED,
    NOT_COLLECTED,
    Row,
    compare,
    render_page,
    render_preview,
    render_text,
    sample,
)
from app.telemetry.transport import transport_for
from disclosure import render_document

PROJECT = Path(__file__).parents[3]
PLANTED = ("müller", "zoe", "4111", "not-a-real", "203.0.113.7", "7946", "DE89", "737")

Set = Callable[..., None]


@pytest.fixture
def set_(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Set what the preview goes by; without an argument, what is the default."""
    default = Settings.model_construct()

    def to(**settings: object) -> None:
        monkeypatch.setattr(config, "settings", default.model_copy(update=settings))

    to()
    return to


def rows_by_field() -> dict[str, Row]:
    return {row.field: row for row in compare(*sample())}


# What is compared


@pytest.mark.usefixtures("set_")
def test_what_is_planted_is_seen_before_and_not_after() -> None:
    rows = compare(*sample())
    before = " ".join(row.before for row in rows)
    after = " ".join(str(outcome.left) for row in rows for outcome in row.after.values())
    for planted in PLANTED:
        assert planted in before
        assert planted not in after


@pytest.mark.usefixtures("set_")
def test_a_rule_is_named_exactly_where_a_value_is_changed() -> None:
    for row in compare(*sample()):
        for mode, outcome in row.after.items():
            assert bool(outcome.rules) == (outcome.left != row.before), (row.field, mode)


@pytest.mark.usefixtures("set_")
@pytest.mark.parametrize(
    ("field", "left", "rule"),
    [
        ("request.headers.Authorization", "[Filtered]", "name: authorization"),
        ("request.headers.X-Forwarded-For", "[IP]", "ipv4"),
        ("contexts.order.phone", "[PHONE]", "phone"),
        ("tags.customer", "[EMAIL]", "email"),
        ("extra.receipt", "march.pdf", "path"),
        ("server_name", None, f"{NOT_COLLECTED}: SENTRY_INCLUDE_SERVER_NAME"),
        ("user.ip_address", None, "user context: id"),
    ],
)
def test_the_rule_is_the_one_that_took_the_value(field: str, left: str | None, rule: str) -> None:
    outcome = rows_by_field()[field].after["balanced"]
    assert (outcome.left, outcome.rules) == (left, (rule,))


@pytest.mark.usefixtures("set_")
def test_of_a_message_balanced_takes_what_is_private_and_strict_all_values() -> None:
    message = rows_by_field()["exception.value"].after
    balanced, strict = message["balanced"], message["strict"]
    assert balanced.left == "charge declined for [EMAIL]: card [CARD], api_key=[Filtered]"
    assert set(balanced.rules) == {"email", "card", "name"}
    assert str(strict.left).startswith("charge declined for […]: card […], api_key=[")


@pytest.mark.usefixtures("set_")
def test_strict_says_what_its_allow_list_does_not_have() -> None:
    outcome = rows_by_field()["tags.plan"].after
    assert outcome["balanced"].left == "gold"
    assert (outcome["strict"].left, outcome["strict"].rules) == (None, (NOT_ALLOWED,))


@pytest.mark.parametrize(
    ("setting", "field", "left"),
    [
        ("SENTRY_INCLUDE_LOCAL_VARIABLES", "exception.stacktrace.frames[1].vars.card", "'[CARD]'"),
        ("SENTRY_INCLUDE_REQUEST_BODIES", "request.data.card.number", "[Filtered]"),
        ("SENTRY_INCLUDE_ARGV", "extra.sys.argv[2]", "[Filtered]"),
        ("SENTRY_INCLUDE_MODULES", "modules.fastapi", "0.136.0"),
        ("SENTRY_INCLUDE_SERVER_NAME", "server_name", "ip-192-0-2-10.internal"),
    ],
)
def test_what_a_setting_lets_collect_is_filtered_in_one_mode_and_not_sent_in_the_other(
    set_: Set, setting: str, field: str, left: str
) -> None:
    set_(**{setting: True})
    after = rows_by_field()[field].after
    assert after["balanced"].left == left
    assert (after["strict"].left, after["strict"].rules) == (None, (NOT_ALLOWED,))


@pytest.mark.parametrize(
    ("context", "told"),
    [("id", {"user.id"}), ("full", {"user.id", "user.email", "user.username"})],
)
def test_the_user_is_told_as_the_setting_says(set_: Set, context: str, told: set[str]) -> None:
    set_(SENTRY_USER_CONTEXT=context)
    users = {field: row for field, row in rows_by_field().items() if row.section == "user"}
    assert {field for field, row in users.items() if row.is_kept} == told


def test_an_anonymous_user_is_a_session(set_: Set) -> None:
    set_(SENTRY_USER_CONTEXT="anonymous")
    kept = [row for row in compare(*sample()) if row.section == "user" and row.is_kept]
    assert [row.field for row in kept] == ["user.session_id"]
    assert "user-42" not in kept[0].before


# As text


@pytest.mark.usefixtures("set_")
@pytest.mark.parametrize("width", [1, 40, 80, 100, 132, 1000])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = compare(*sample())
    lines = render_text(rows, width).splitlines()
    assert max(map(len, lines)) <= min(max(width, 40), 160)
    assert not any(line.endswith(" ") for line in lines)


@pytest.mark.usefixtures("set_")
def test_before_and_after_stand_side_by_side() -> None:
    lines = render_text(compare(*sample()), 100).splitlines()
    heads = next(line for line in lines if line.lstrip().startswith("before"))
    assert heads.split() == ["before", "strict", "(now", "set)", "balanced"]
    start = lines.index("request.headers.Cookie")
    value, rule = lines[start + 1 : start + 3]
    assert [value.find(each) for each in ("sessionid=", "not sent", "[Filtered]")] == [
        heads.find(each) for each in ("before", "strict", "balanced")
    ]
    assert rule[heads.find("balanced") :] == "← name: cookie"


@pytest.mark.usefixtures("set_")
def test_wide_letters_take_two_columns() -> None:
    wide = compare({"tags": {"plan": "金" * 30, "size": "s"}}, {})
    lines = render_text(wide, 80).splitlines()
    assert max(len(line) + line.count("金") for line in lines) <= 80
    assert "".join(lines).count("金") == 2 * 30  # before, and in balanced


def test_the_mode_that_is_set_is_marked(set_: Set) -> None:
    set_(SENTRY_PRIVACY_MODE="balanced", SENTRY_USER_CONTEXT="full")
    rows = compare(*sample())
    text = render_text(rows, 100)
    assert "balanced (now set)" in text
    assert "strict (now set)" not in text
    assert "SENTRY_PRIVACY_MODE=balanced, SENTRY_USER_CONTEXT=full" in text
    page = read(render_page(rows))
    assert "After: balanced now set" in page.cells
    assert "After: strict" in page.cells


# As a page


class Reader(HTMLParser):
    """Reads a page as a browser does: its elements, their attributes, the text of its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self.rows: list[list[str]] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False
            self.cells[-1] = self.cells[-1].strip()
            self.rows[-1].append(self.cells[-1])

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


@pytest.mark.usefixtures("set_")
def test_the_page_has_a_row_for_each_value() -> None:
    rows = compare(*sample())
    shown = {cells[0]: cells[1:] for cells in read(render_page(rows)).rows if len(cells) == 4}
    for row in rows:
        before, *after = shown[row.field]
        assert before == row.before
        for mode, cell in zip(MODES, after, strict=True):
            outcome = row.after[mode]
            left = "not sent" if outcome.left is None else outcome.left
            assert cell == f"{left} {''.join(outcome.rules or ('kept',))}"


@pytest.mark.usefixtures("set_")
def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = render_page(compare(*sample()))
    reader = read(page)
    assert not reader.tags & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "audio",
        "video",
        "form",
    }
    assert [value for name, value in reader.attributes if name in ("href", "src")] == ["data:,"]
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


HOSTILE: Event = {
    "message": "</td><script>alert(1)</script>",
    "tags": {"<img src=x onerror=alert(1)>": "\"'><b>&amp;", "plan": "$sections ${cards}"},
    "extra": {
        "number": float("nan"),
        "endless": float("-inf"),
        "half": "\ud800",
        "controls": "\x1b[31m\x00\r\n",
        "turned": "\u202eevil",
        "other": "données 金 \U0001f600",
        "nothing": None,
        "empty": [],
        "object": object(),
        1: "a key that is no text",
    },
}


@pytest.mark.usefixtures("set_")
def test_whatever_an_error_holds_is_shown_and_does_nothing() -> None:
    page = render_page(compare(HOSTILE, {}))
    page.encode()  # half a character has no bytes
    reader = read(page)
    assert not reader.tags & {"script", "img"}
    for shown in (HOSTILE["message"], "\"'><b>&amp;", "$sections ${cards}", "NaN", "-Infinity"):
        assert shown in reader.cells
    for escaped in ("\\ud800", "\\x1b[31m\\x00\\r\\n", "\\u202eevil", "données 金 \U0001f600"):
        assert escaped in reader.cells
    text = render_text(compare(HOSTILE, {}), 80)
    assert all(each.isprintable() or each == "\n" for each in text)


# The commands


@pytest.mark.usefixtures("set_")
def test_the_page_is_written_and_the_file_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "préview.html"
    path.write_text("what was there before")
    assert main(["privacy", "preview", "--html", str(path)]) == 0
    assert capsys.readouterr().out == f"The preview is in {path}.\n"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("set_")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "page.html", tmp_path / "link.html"
    link.symlink_to(target)
    render_preview(link)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.usefixtures("set_")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is not a file that may be written"),
        ("missing/page.html", "no such file or directory"),
        ("file/page.html", "not a directory"),
        ("n" * 300, "file name too long"),
        ("closed/page.html", "permission denied"),
        ("closed/there.html", "it is not a file that may be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path,
    name: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("as it was")
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "there.html").write_text("as it was")
    close(closed, monkeypatch)
    path = tmp_path / name
    assert main(["privacy", "preview", "--html", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"The page can't be written to {path}: {reason}.\n"
    assert (tmp_path / "file").read_text() == "as it was"
    assert [each.name for each in closed.iterdir()] == ["there.html"]


def close(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be written in a directory, nor any of its files: not even by root."""
    really_open = Path.open

    def refuse(path: Path, *arguments: str, **options: str) -> object:
        if path.parent == directory:
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).parent != directory)


@pytest.mark.usefixtures("set_")
def test_what_fails_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("as it was")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert main(["privacy", "preview", "--html", str(path)]) == 1
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("set_")
def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert main(["privacy", "preview", "--html", str(pipe)]) == 1
    assert pipe.is_fifo()


# The document


def test_the_document_says_what_the_code_does() -> None:
    told = (PROJECT / "PRIVACY.md").read_text(encoding="utf-8")
    assert told == f"{render_document()}\n", (
        "PRIVACY.md no longer says what the code does; read what changed, and make it anew: "
        "cd backend && .venv/bin/python -m disclosure > ../PRIVACY.md"
    )


@pytest.mark.usefixtures("set_")
def test_all_that_leaves_in_strict_mode_is_in_the_document() -> None:
    event, hint = sample()
    told = render_document().partition("## In the mode `strict`")[2]
    strict, _, rest = told.partition("## In the mode `balanced`")
    clean = EventFilter("strict").filter_event(event, hint)
    for field in leaves(clean.pop("user")):
        assert f"`{field}`" in rest
    assert len(leaves(clean)) > 20
    for field in leaves(clean):
        assert f"`{field}`" in strict or f".{field}`" in strict or f"`{field}[]`" in strict, field


def leaves(value: object, name: str = "") -> set[str]:
    """Return the last names on the ways to the values of an event."""
    if isinstance(value, dict):
        return {leaf for key, each in value.items() for leaf in leaves(each, key)}
    if isinstance(value, list):
        return {leaf for each in value for leaf in leaves(each, name)}
    return {name}


@pytest.mark.usefixtures("set_")
def test_each_rule_that_the_preview_names_is_in_the_document() -> None:
    outcomes = [row.after["balanced"] for row in compare(*sample())]
    rules = {rule.partition(":")[0] for each in outcomes if each.left for rule in each.rules}
    assert {"card", "email", "ipv4", "name", "path", "phone"} <= rules
    document = render_document()
    for rule in rules:
        assert f"`{rule}`" in document


def test_the_header_of_an_envelope_is_in_the_document() -> None:
    options = DEFAULT_OPTIONS | {"release": "1.2.3", "environment": "staging"}
    line = transport_for(EventFilter())(options | {"dsn": "http://key@o1.example.com/42"})
    trace = {"trace_id": "a" * 32, "sample_rate": "0.5", "sample_rand": "0.25", "sampled": "true"}
    offered = {"event_id": "b" * 32, "sent_at": "2026-03-14T09:26:53Z", "trace": trace}
    transaction = Item(PayloadRef(json={"transaction": "/"}), type="transaction")
    sent = line._rebuild_envelope(Envelope(offered, [transaction])).headers
    line.kill()
    document = render_document()
    names = {f"trace.{name}" for name in sent.pop("trace")} | sent.keys()
    assert len(names) > 8
    for name in names:
        assert f"`{name}`" in document
