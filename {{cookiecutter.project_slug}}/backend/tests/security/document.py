"""What can be asked of the service, read from its own API document, so that no route is left out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

Document = Mapping[str, Any]

TENANTS = "/api/v1/tenants"  # what is below needs the scope tenants:admin


class Kind(StrEnum):
    """What an operation does, to rows or, below `TENANTS`, to tenants."""

    PUBLIC = "public"
    LIST = "list"
    CREATE = "create"
    SHOW = "show"
    CHANGE = "change"
    DELETE = "delete"
    SUSPEND = "suspend"
    RESUME = "resume"
    CONSENT = "telemetry-consent"
    EXPORT = "export"
    ERASE = "erase"


READS = frozenset({Kind.LIST, Kind.SHOW, Kind.EXPORT})
WRITES = frozenset(Kind) - READS - {Kind.PUBLIC}

_OF_A_COLLECTION = {"GET": (Kind.LIST, "200"), "POST": (Kind.CREATE, "201")}
_OF_AN_ITEM = {
    "GET": (Kind.SHOW, "200"),
    "PATCH": (Kind.CHANGE, "200"),
    "DELETE": (Kind.DELETE, "204"),
}


@dataclass(frozen=True, repr=False)
class Operation:
    """A route and a method."""

    method: str
    path: str
    kind: Kind
    fields: Mapping[str, str]
    """Names and types of what the body may have."""
    required: frozenset[str]

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_about_tenants(self) -> bool:
        return self.path.startswith(TENANTS)

    @property
    def collection(self) -> str:
        """The path of the list that the operation is about, with the names of its parameters."""
        return self.path.rpartition("/")[0] if self.path.endswith("}") else self.path

    @property
    def parameters(self) -> list[str]:
        """The collections whose items are named in the path, the outer ones first."""
        parts = self.path.split("/")
        return ["/".join(parts[:at]) for at, part in enumerate(parts) if part.startswith("{")]

    def address(self, keys: Sequence[str]) -> str:
        """Return the path with these in the place of its parameters, as far as they go."""
        path = self.path
        for key in keys:
            path = re.sub(r"\{\w+\}", quote(key), path, count=1)
        return path

    def body(self, text: str, number: int = 1) -> dict[str, object]:
        """Return a body with all of its fields."""
        values: dict[str, object] = {
            **{kind: kind.split("|")[number % 3] for kind in self.fields.values() if "|" in kind},
            "string": text,
            "boolean": number % 2 == 0,
            "integer": number,
        }
        if unknown := set(self.fields.values()) - values.keys():
            raise LookupError(f"{self}: say in tests/security what a value of {unknown} may be")
        return {name: values[kind] for name, kind in self.fields.items()}


def operations(document: Document) -> Iterator[Operation]:
    """Yield every operation of the document; raise LookupError for one that is of no known kind."""
    for path, item in document["paths"].items():
        for method, described in item.items():
            body = described.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = _resolved(document, body.get("schema", {}))
            yield Operation(
                method.upper(),
                path,
                _kind(method.upper(), path, described),
                {
                    name: _type(_resolved(document, each))
                    for name, each in schema.get("properties", {}).items()
                },
                frozenset(schema.get("required", ())),
            )


def _kind(method: str, path: str, described: Document) -> Kind:
    if "security" not in described and method == "GET" and "{" not in path:
        return Kind.PUBLIC
    last = path.rpartition("/")[2]
    if path.startswith(TENANTS) and last in set(Kind):
        return Kind(last)
    kinds = _OF_AN_ITEM if last.startswith("{") else _OF_A_COLLECTION
    kind, success = kinds.get(method, (None, ""))
    if kind is None or success not in described["responses"]:
        raise LookupError(f"{method} {path}: say in tests/security what it does, and to whose rows")
    return kind


def _resolved(document: Document, schema: Document) -> Document:
    if "$ref" not in schema:
        return schema
    found: Document = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _type(schema: Document) -> str:
    """Return the JSON type of a field, that of its value where it may be null; or its choices."""
    if "enum" in schema:
        return "|".join(schema["enum"])
    choices = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return str(choices[0].get("type"))
