"""Calls as they are drawn, without the ids that there will be, and how they become requests."""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from app.api.dependencies.auth import TENANT_HEADER
from app.main import app
from tests.security.document import READS, WRITES, Kind, Operation, operations
from tests.security.model import Model, Request, Shown, canary, encoded, etag
from tests.security.tokens import KINDS, Caller, Issuer

# Those that come first are drawn most often.
OPERATIONS = sorted(operations(app.openapi()), key=lambda each: each.is_about_tenants)
OPERATIONS.sort(key=lambda each: each.kind is Kind.PUBLIC)

TENANTS_OF_A_WALK = 5  # three are there at its start
UNKNOWN_TENANT = "nobody"
UNKNOWN_ID = str(uuid.UUID(int=7 << 76 | 2 << 62))
MALFORMED = "Not what is wanted"
WHOSE = ("own", "foreign", "unknown", "malformed")
LIMITS = {"1": True, "2": True, "100": True, "0": False, "101": False, "x": False}
UNREADABLE = {"cut off": b'{"', "a list": b"[]", "nothing": None}
BODIES = ("good", "the least", "a field too many", "a wrong type", *UNREADABLE)


@dataclass(frozen=True)
class Call:
    """What somebody asks: an operation, with a token, about somebody's rows."""

    operation: Operation
    token: str
    tenant: int
    is_operator: bool
    memberships: frozenset[int]
    selected: int | None
    whose: tuple[str, str]
    which: int
    body: str
    limit: str | None
    cursor: str | None
    if_match: str | None


def plain_call(operation: Operation, tenant: int = 0, which: int = 1) -> Call:
    """Return the call of somebody who may, and who means well."""
    return Call(
        operation=operation,
        token="good",
        tenant=tenant,
        is_operator=True,
        memberships=frozenset(),
        selected=None,
        whose=("foreign" if operation.is_about_tenants else "own", "own"),
        which=which,
        body="good",
        limit=None,
        cursor=None,
        if_match="current",
    )


def _mostly(usual: object, others: Iterable[object], times: int) -> st.SearchStrategy[Any]:
    """Draw the usual one most of the time, so that a walk gets somewhere."""
    return st.sampled_from([usual] * times + [each for each in others if each != usual])


def _calls(operations: Sequence[Operation]) -> st.SearchStrategy[Call]:
    tenants = range(TENANTS_OF_A_WALK)
    return st.builds(
        Call,
        operation=st.sampled_from(operations),
        token=_mostly("good", KINDS, times=8 * len(KINDS)),
        tenant=st.sampled_from([0, 0, 0, 1, 1, 2, 2, *tenants]),
        is_operator=st.sampled_from([True, True, False]),
        memberships=st.frozensets(st.sampled_from(tenants), max_size=2),
        selected=_mostly(None, range(TENANTS_OF_A_WALK + 2), times=20),
        whose=st.tuples(*[st.sampled_from(["own"] * 8 + ["foreign"] * 2 + [*WHOSE])] * 2),
        which=st.integers(0, 3),
        body=_mostly("good", BODIES, times=12),
        limit=_mostly(None, LIMITS, times=8),
        cursor=_mostly(None, WHOSE, times=4),
        if_match=_mostly("current", ['"1"', '"2"', "*", None], times=12),
    )


any_call = _calls(OPERATIONS)
reading_call = _calls([each for each in OPERATIONS if each.kind in READS])
writing_call = _calls([each for each in OPERATIONS if each.kind in WRITES])


@dataclass(frozen=True)
class Decider:
    """Turns calls into requests: fills in what there is at the moment."""

    model: Model
    issuer: Issuer
    names: Sequence[str]
    """The tenants of the walk, those included that are not there yet."""

    def decide(self, call: Call) -> Request:
        """Return the request that a call is now."""
        caller = Caller(
            self.names[call.tenant],
            is_operator=call.is_operator,
            memberships=frozenset(self.names[each] for each in call.memberships),
        )
        headers = self._headers(call, caller)
        tenant = headers.get(TENANT_HEADER, caller.tenant)
        path = self._path(call, tenant)
        if call.operation.kind is Kind.CHANGE and call.if_match:
            row = self.model.rows.get(tenant, {}).get(path)
            current = etag(row) if row else '"1"'
            headers["If-Match"] = current if call.if_match == "current" else call.if_match
        content, body = self._body(call, tenant)
        query = self._query(call, tenant, path)
        is_in_path = "malformed" in call.whose[: len(call.operation.parameters)]
        return Request(
            operation=call.operation,
            path=path,
            caller=caller if self.issuer.accepts(call.token) else None,
            headers=headers,
            query=query,
            content=content,
            body=body,
            is_well_formed=LIMITS.get(query.get("limit", "1"), False) and not is_in_path,
        )

    def _headers(self, call: Call, caller: Caller) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if token := self.issuer.token(call.token, caller):
            headers["Authorization"] = f"Bearer {token}"
        if call.selected is not None:
            choices = [*self.names, UNKNOWN_TENANT, MALFORMED]
            headers[TENANT_HEADER] = choices[call.selected]
        return headers

    def _path(self, call: Call, tenant: str) -> str:
        keys: list[str] = []
        for whose, collection in zip(call.whose, call.operation.parameters, strict=False):
            place = call.operation.address(keys).partition("/{")[0]
            keys.append(self._key(call, whose, tenant, place, collection))
        return call.operation.address(keys)

    def _key(self, call: Call, whose: str, tenant: str, place: str, collection: str) -> str:
        """Return the id of a row, or the name of a tenant; an unknown one where there is none."""
        if whose == "malformed":
            return MALFORMED
        if call.operation.is_about_tenants:
            others = {"own": tenant, "foreign": self._name(call)}
            return others.get(whose, UNKNOWN_TENANT)
        tenants = self.model.rows.keys() & {*self.names, tenant}
        there = {name: self.model.under(name, collection) for name in tenants}
        rows: dict[str, Shown] = {}
        if whose == "foreign":
            for name in sorted(tenants - {tenant}):
                rows |= there[name]
        elif whose == "own" and tenant in tenants:
            rows = self.model.under(tenant, place) or there[tenant]
        ids = sorted(row["id"] for row in rows.values())
        return ids[call.which % len(ids)] if ids else UNKNOWN_ID

    def _name(self, call: Call) -> str:
        """Return a tenant's name, more often one that is not there yet."""
        return self.names[-1 - call.which]

    def _query(self, call: Call, tenant: str, path: str) -> dict[str, str]:
        if call.operation.kind is not Kind.LIST:
            return {}
        query = {} if call.limit is None else {"limit": call.limit}
        if call.cursor == "malformed":
            query["cursor"] = MALFORMED
        elif call.cursor is not None:
            key = self._key(call, call.cursor, tenant, path, call.operation.collection)
            query["cursor"] = encoded(key)
        return query

    def _body(self, call: Call, tenant: str) -> tuple[bytes | None, Shown | None]:
        """Return the bytes of a body, and what they say; nothing if they must be refused."""
        fields = call.operation.fields
        if not fields or call.body in UNREADABLE:
            return UNREADABLE.get(call.body) if fields else None, None
        # Texts hold what only their tenant writes; but for one, which all of them write.
        text = f"{canary(tenant)} {call.which}" if call.which else "A plan"
        text = self._name(call) if call.operation.is_about_tenants else text
        body = call.operation.body(text, call.which)
        match call.body:
            case "the least":
                body = {name: body[name] for name in call.operation.required}
            case "a field too many":
                extra = {"tenant_id": self._name(call), "id": UNKNOWN_ID, "version": 1}
                chosen = sorted(extra)[call.which % len(extra)]
                return json.dumps(body | {chosen: extra[chosen]}).encode(), None
            case "a wrong type":
                return json.dumps(body | {next(iter(fields)): [1]}).encode(), None
        return json.dumps(body).encode(), body
