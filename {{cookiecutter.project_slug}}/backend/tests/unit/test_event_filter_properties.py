"""What holds of the event filter for any event, in both modes, also for hostile ones."""

import copy
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from app.telemetry import EventFilter, PrivacyMode
from tests.unit.test_privacy_properties import (
    CANARY,
    EXAMPLES,
    any_keys,
    anything,
    names,
    plain,
    sensitive_names,
    texts,
    thoroughly,
)

# Events are large, and take their time to make.
thoroughly = settings(thoroughly, max_examples=EXAMPLES or 40)

modes = st.sampled_from(get_args(PrivacyMode)).map(EventFilter)
frames = st.fixed_dictionaries(
    {},
    optional={
        "function": texts,
        "module": st.sampled_from(["app.main", "json", "not.loaded"]) | texts,
        "filename": texts,
        "abs_path": texts,
        "lineno": st.integers(),
        "in_app": st.booleans(),
        "vars": st.dictionaries(names, plain, max_size=3),
        "context_line": texts,
    },
)
crumbs = st.fixed_dictionaries(
    {},
    optional={
        "message": texts,
        "category": st.sampled_from(["query", "httplib", "app.main"]) | texts,
        "level": st.sampled_from(["info", "error"]) | texts,
        "timestamp": st.floats(0, 2e9) | st.datetimes() | texts,
        "data": plain,
    },
)
pairs = st.lists(st.tuples(names | texts, texts).map(list), max_size=3)
tags = st.dictionaries(st.sampled_from(["tenant_id", "request_id"]) | texts, texts, max_size=3)
ids = st.uuids().map(lambda made: made.hex)
spans = st.fixed_dictionaries(
    {},
    optional={
        "trace_id": ids,
        "span_id": ids.map(lambda made: made[:16]),
        "op": st.sampled_from(["db", "http.client"]) | texts,
        "description": texts,
        "data": st.dictionaries(names | texts, plain, max_size=3),
        "tags": tags,
    },
)
exceptions = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["ValueError"]) | texts,
        "value": texts,
        "module": texts,
        "mechanism": st.fixed_dictionaries({"type": texts}, optional={"data": plain}),
        "stacktrace": st.fixed_dictionaries({"frames": st.lists(frames, max_size=2)}),
    },
)
# Each part as it should be, and as it should not.
PARTS: dict[str, st.SearchStrategy[object]] = {
    "event_id": ids | texts,
    "type": st.sampled_from(["transaction", "check_in"]),
    "message": texts,
    "logentry": st.fixed_dictionaries(
        {"message": texts}, optional={"params": st.lists(plain, max_size=3), "formatted": texts}
    ),
    "exception": st.fixed_dictionaries({"values": st.lists(exceptions, max_size=2)}),
    "breadcrumbs": st.fixed_dictionaries({"values": st.lists(crumbs, max_size=3)}),
    "request": st.fixed_dictionaries(
        {},
        optional={
            "url": texts,
            "method": st.sampled_from(["GET"]) | texts,
            "headers": st.dictionaries(names | texts, texts, max_size=3) | pairs,
            "query_string": texts | pairs,
            "cookies": tags,
            "data": plain,
            "env": st.dictionaries(names, texts, max_size=2),
        },
    ),
    "user": st.dictionaries(st.sampled_from(["id", "email", "ip_address"]) | names, texts),
    "tags": tags | pairs,
    "extra": st.dictionaries(names | texts, plain, max_size=3),
    "contexts": st.dictionaries(st.sampled_from(["trace", "runtime"]) | names, plain | spans),
    "spans": st.lists(spans, max_size=2),
    "transaction": texts,
    "transaction_info": st.fixed_dictionaries({"source": st.sampled_from(["route", "url"])}),
    "modules": st.dictionaries(texts, texts, max_size=2),
    "server_name": texts,
    "release": st.sampled_from(["1.2.3.4"]) | texts,
    "environment": texts,
    "timestamp": st.floats(0, 2e9) | texts,
    "threads": plain,
    "sdk": plain,
}
events = st.fixed_dictionaries({}, optional=PARTS)
hostile_events = st.dictionaries(
    st.sampled_from(list(PARTS)) | any_keys.filter(lambda key: isinstance(key, str)), anything
)


@given(rules=modes, event=events)
@thoroughly
def test_filtering_an_event_twice_is_filtering_it_once(
    rules: EventFilter, event: dict[str, object]
) -> None:
    once = rules.filter_event(event)
    assert repr(rules.filter_event(once)) == repr(once)


@given(rules=modes, event=events)
@thoroughly
def test_the_event_that_is_filtered_stays_as_it_was(
    rules: EventFilter, event: dict[str, object]
) -> None:
    before = repr(copy.deepcopy(event))
    rules.filter_event(event)
    assert repr(event) == before


@given(rules=modes, event=hostile_events)
@thoroughly
def test_no_event_makes_it_fail(rules: EventFilter, event: dict[str, object]) -> None:
    rules.filter_event(event)


@given(rules=modes, event=events, part=st.sampled_from(list(PARTS)), name=sensitive_names)
@thoroughly
def test_what_stands_under_a_sensitive_name_never_leaves(
    rules: EventFilter, event: dict[str, object], part: str, name: str
) -> None:
    planted = {name: CANARY, "data": {name: [CANARY]}, "headers": [[name, CANARY]]}
    for place in (planted, [planted], {"values": [planted]}):
        assert CANARY not in repr(rules.filter_event({**event, part: place}))
