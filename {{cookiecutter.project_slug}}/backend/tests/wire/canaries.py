"""Canaries: what is planted where private data may be, and how it is found again."""

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote_plus


@dataclass(frozen=True)
class Canary:
    """What is planted in one place. Only `plain` can't be recognised, by its name or its shape."""

    number: int

    @property
    def mail(self) -> str:
        return f"zke{self.number:03}@planted-example.org"

    @property
    def secret(self) -> str:
        """Stands under a sensitive name wherever it is planted."""
        return f"zkn{self.number:03}"

    @property
    def plain(self) -> str:
        return f"zkp{self.number:03}"

    @property
    def text(self) -> str:
        return f"{self.mail} password={self.secret} {self.plain}"

    @property
    def data(self) -> dict[str, object]:
        return {
            "password": self.secret,
            "mail": self.mail,
            "note": self.plain,
            f"key {self.mail}": 1,
            "list": [["api_key", self.secret], {"value": self.text}],
        }


CORE = re.compile(r"zk[enp]\d{3}", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


def found(text: str) -> set[str]:
    """Return what is found of the canaries in a text: as they are, percent-encoded, in base64."""
    layers = [text, unquote_plus(text), unquote_plus(unquote_plus(text))]
    layers += [_decoded(run) for run in set(_BASE64.findall(text))]
    return {core.lower() for layer in layers for core in CORE.findall(layer)}


def _decoded(run: str) -> str:
    """Decode base64 that may begin before the run does, and end where it does not."""
    run = run.rstrip("=").translate(str.maketrans("-_", "+/"))
    shifted = [f"{run[start:]}{'A' * (-len(run[start:]) % 4)}" for start in range(4)]
    return " ".join(base64.b64decode(each).decode("latin-1") for each in shifted)
