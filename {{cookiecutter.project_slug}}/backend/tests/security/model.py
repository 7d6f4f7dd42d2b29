"""What the service must answer, and hold, if no tenant reaches another: the model it is held to."""

import base64
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import UniqueConstraint

from app.api.dependencies.auth import TENANT_HEADER
from app.db.base import Base, load_models
from app.tenancy import TenantStatus
from tests.security.document import TENANTS, Kind, Operation
from tests.security.tokens import Caller

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CANARY = re.compile(r"<([a-z0-9-]+)>")
ETAG = re.compile(r'"[1-9][0-9]*"')
PAGE = 50  # items of a list, unless asked for more or fewer

Shown = dict[str, Any]


def canary(tenant: str) -> str:
    """Return the text that only a tenant writes, and only its people may read."""
    return f"<{tenant}>"


@dataclass(frozen=True)
class Request:
    """A call in which everything is decided."""

    operation: Operation
    path: str
    caller: Caller | None
    """None where the token must open nothing."""
    headers: Mapping[str, str]
    query: Mapping[str, str]
    content: bytes | None
    body: Shown | None
    """What the content says; None where it must be refused."""
    is_well_formed: bool
    """Whether the path and the query are what the document says."""

    @property
    def tenant(self) -> str:
        """The tenant that the request is made in, whether or not it may."""
        assert self.caller is not None
        return self.headers.get(TENANT_HEADER, self.caller.tenant)

    @property
    def is_json(self) -> bool:
        try:
            json.loads(self.content or b"null")
        except ValueError:
            return False
        return True

    @property
    def is_valid(self) -> bool:
        return self.is_well_formed and (not self.operation.fields or self.body is not None)

    @property
    def named(self) -> str:
        """The tenant that an operator names: in the path, or to be created."""
        if self.operation.kind is Kind.CREATE:
            return str(self.body and self.body["name"])
        return self.path.removeprefix(f"{TENANTS}/").partition("/")[0]

    @property
    def limit(self) -> int:
        return int(self.query.get("limit", PAGE))


@dataclass
class Model:
    """What every tenant has."""

    tenants: dict[str, TenantStatus] = field(default_factory=dict)
    consents: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, Shown]] = field(default_factory=dict)
    """By tenant and by address: a row as the API shows it."""
    owners: dict[str, str] = field(default_factory=dict)
    """Whose each id is, or was."""

    def add_tenant(self, name: str) -> None:
        """Note that a tenant was created."""
        self.tenants[name] = TenantStatus.ACTIVE
        self.rows.setdefault(name, {})

    def under(self, tenant: str, collection: str) -> dict[str, Shown]:
        """Return a tenant's rows of a collection whose parameters may be names, in their order."""
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", collection) + "/[^/]+")
        found = {url: row for url, row in self.rows[tenant].items() if pattern.fullmatch(url)}
        return dict(sorted(found.items(), key=lambda each: str(each[1]["id"])))

    def forecast(self, asked: Request) -> int:
        """Return the status of the answer."""
        if asked.operation.kind is Kind.PUBLIC:
            return 200
        if not asked.is_json:
            return 422  # a body that can't be read is refused before anything else is looked at
        if asked.caller is None:
            return 401
        if not self._may_enter(asked, asked.caller):
            return 403
        if asked.operation.is_about_tenants:
            return self._forecast_of_tenants(asked)
        return self._forecast_of_rows(asked)

    def _may_enter(self, asked: Request, caller: Caller) -> bool:
        if asked.tenant not in {caller.tenant, *caller.memberships}:
            return False
        if asked.operation.is_about_tenants and not caller.is_operator:
            return False
        states = {self.tenants.get(caller.tenant), self.tenants.get(asked.tenant)}
        return states == {TenantStatus.ACTIVE}

    def _forecast_of_tenants(self, asked: Request) -> int:
        kind = asked.operation.kind
        if not asked.is_valid:
            return 422
        if kind is Kind.LIST:
            return 400 if self._cursor(asked) is None else 200
        status = self.tenants.get(asked.named)
        if kind is Kind.CREATE:
            return {None: 201, TenantStatus.ACTIVE: 200}.get(status, 409)
        if status is None:
            return 404
        is_final = status is TenantStatus.ERASED
        return 409 if is_final and kind in (Kind.SUSPEND, Kind.RESUME) else 200

    def _forecast_of_rows(self, asked: Request) -> int:
        kind, version = asked.operation.kind, asked.headers.get("If-Match")
        if kind is Kind.CHANGE and version is None:
            return 428
        if kind is Kind.CHANGE and not ETAG.fullmatch(str(version)):
            return 412
        if not asked.is_valid:
            return 422
        is_item = asked.operation.path.endswith("}")
        above = asked.path if is_item else asked.path.rpartition("/")[0]
        if asked.operation.parameters and above not in self.rows[asked.tenant]:
            return 404
        return self._forecast_of_own_rows(asked)

    def _forecast_of_own_rows(self, asked: Request) -> int:
        match asked.operation.kind:
            case Kind.LIST:
                return 400 if self._cursor(asked) is None else 200
            case Kind.CREATE:
                return 409 if self._is_taken(asked) else 201
            case Kind.CHANGE if asked.headers["If-Match"] != etag(
                self.rows[asked.tenant][asked.path]
            ):
                return 412
            case Kind.CHANGE:
                return 409 if self._is_taken(asked) else 200
            case Kind.DELETE:
                return 204
        return 200

    def _cursor(self, asked: Request) -> str | None:
        """Return the key after which a page begins; None where it can't be one."""
        cursor = asked.query.get("cursor")
        if cursor is None:
            return ""
        return decoded(cursor, is_name=asked.operation.is_about_tenants)

    def _is_taken(self, asked: Request) -> bool:
        """Tell whether another row of the tenant has what must be unique in its table."""
        collection = asked.operation.collection
        for names in unique(collection):
            before = self.rows[asked.tenant].get(asked.path, {})
            wanted = {name: (asked.body or {}).get(name, before.get(name)) for name in names}
            for url, row in self.under(asked.tenant, collection).items():
                if url != asked.path and all(row[name] == wanted[name] for name in names):
                    return True
        return False

    def settle(self, asked: Request, answer: httpx.Response) -> None:
        """Take in an answer: it must say what the model has, or what was just written."""
        assert answer.status_code == self.forecast(asked), answer.text
        self.look_for_foreign(asked, answer)
        if not answer.is_success:
            assert answer.headers["content-type"] == "application/problem+json"
        elif asked.operation.is_about_tenants:
            self._settle_tenants(asked, answer)
        elif asked.operation.kind is not Kind.PUBLIC:
            self._settle_rows(asked, answer)

    def look_for_foreign(self, asked: Request, answer: httpx.Response) -> None:
        """Fail if an answer holds a text or an id of a tenant that the caller may not see."""
        text = f"{answer.headers}\n{answer.text}"
        told = set(CANARY.findall(text))
        told |= {self.owners.get(each, "somebody unknown") for each in ID.findall(text)}
        told -= {"somebody unknown"} if answer.status_code == 201 else set()
        assert told <= self._visible(asked, answer), f"{asked} was told {text}"

    def _visible(self, asked: Request, answer: httpx.Response) -> set[str]:
        """Return whose data an answer may hold."""
        if not answer.is_success or asked.operation.kind is Kind.PUBLIC:
            return set()
        if asked.operation.is_about_tenants:
            return {asked.named} if asked.operation.kind is Kind.EXPORT else set()
        return {asked.tenant}

    def _settle_rows(self, asked: Request, answer: httpx.Response) -> None:
        own = self.rows[asked.tenant]
        match asked.operation.kind:
            case Kind.LIST:
                self._compare_page(
                    asked, answer, list(self.under(asked.tenant, asked.path).values())
                )
            case Kind.SHOW:
                assert answer.json() == own[asked.path]
                assert answer.headers["ETag"] == etag(own[asked.path])
            case Kind.CREATE:
                made = answer.json()
                url = f"{asked.path}/{made['id']}"
                assert answer.headers.get("Location", url) == url
                self.learn(asked, url, made)
            case Kind.CHANGE:
                self.learn(asked, asked.path, answer.json())
            case Kind.DELETE:
                self.forget(asked.tenant, asked.path)

    def learn(self, asked: Request, url: str, row: Shown) -> None:
        """Take in a row that a request has made or changed: as it asked, and in nothing else."""
        before = self.rows[asked.tenant].get(url, {})
        wanted = {name: value for name, value in (asked.body or {}).items() if value is not None}
        kept = {name: row[name] for name in before.keys() - {"version", "updated_at"}}
        assert kept == {name: (before | wanted)[name] for name in kept}
        assert {name: row[name] for name in wanted} == wanted
        assert row["version"] == before.get("version", 0) + (before != before | wanted)
        assert self.owners.setdefault(row["id"], asked.tenant) == asked.tenant
        self.rows[asked.tenant][url] = row

    def forget(self, tenant: str, url: str) -> None:
        """Take away a row, and those below it."""
        own = self.rows[tenant]
        self.rows[tenant] = {
            each: row for each, row in own.items() if each != url and not each.startswith(f"{url}/")
        }

    def _settle_tenants(self, asked: Request, answer: httpx.Response) -> None:
        kind, name = asked.operation.kind, asked.named
        if kind is Kind.LIST:
            self._compare_page(asked, answer, [self.shown(each) for each in sorted(self.tenants)])
        elif kind is Kind.EXPORT:
            lines = [json.loads(line) for line in answer.text.splitlines()]
            self.compare(name, [line["row"] for line in lines])
        elif kind is Kind.ERASE:
            self._settle_erasure(name, answer)
        else:
            if kind is Kind.CREATE:
                self.add_tenant(name)
            if kind in (Kind.SUSPEND, Kind.RESUME):
                is_over = kind is Kind.SUSPEND
                self.tenants[name] = TenantStatus.SUSPENDED if is_over else TenantStatus.ACTIVE
            if kind is Kind.CONSENT and asked.body:
                self.consents[name] = asked.body["consent"]
            assert answer.json() == self.shown(name)

    def shown(self, tenant: str) -> Shown:
        """Return a tenant as operators see it."""
        consent = self.consents.get(tenant, "full")
        return {"name": tenant, "status": self.tenants[tenant], "telemetry_consent": consent}

    def _settle_erasure(self, name: str, answer: httpx.Response) -> None:
        last = json.loads(answer.text.splitlines()[-1])
        assert not any(last["left"].values())
        assert sum(last["deleted"].values()) == len(self.rows[name])
        self.erase(name)

    def erase(self, name: str) -> None:
        """Note that a tenant has nothing left."""
        self.tenants[name] = TenantStatus.ERASED
        self.rows[name] = {}

    def _compare_page(self, asked: Request, answer: httpx.Response, rows: Sequence[Shown]) -> None:
        name = "name" if asked.operation.is_about_tenants else "id"
        following = [row for row in rows if row[name] > (self._cursor(asked) or "")]
        page = following[: asked.limit]
        is_last = len(page) == len(following)
        assert answer.json() == {
            "items": page,
            "next": None if is_last else encoded(page[-1][name]),
        }

    def compare(self, tenant: str, stored: Iterable[Mapping[str, Any]]) -> None:
        """Hold the rows that are stored of a tenant against what the API has shown of them."""
        found = {str(row["id"]): row for row in stored}
        known = {str(row["id"]): row for row in self.rows[tenant].values()}
        assert found.keys() == known.keys()
        for each, row in known.items():
            assert found[each]["tenant_id"] == tenant
            assert {name: found[each][name] for name in row} == row


def etag(row: Shown) -> str:
    """Return the entity tag of a row."""
    return f'"{row["version"]}"'


def unique(collection: str) -> list[set[str]]:
    """Return the sets of columns that must be unique in a collection's table, in each tenant."""
    load_models()
    table = Base.metadata.tables.get(collection.rpartition("/")[2])
    if table is None:
        raise LookupError(f"{collection}: say in tests/security which table has its rows")
    constraints = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    return [set(each.columns.keys()) - {"tenant_id"} for each in constraints]


def encoded(key: str) -> str:
    """Return the cursor of a key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decoded(cursor: str, *, is_name: bool) -> str | None:
    """Return the key of a cursor; None where it is not one that a list gives out."""
    try:
        key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        if not is_name:
            key = str(uuid.UUID(key))
    except ValueError:
        return None
    return key if encoded(key) == cursor else None
