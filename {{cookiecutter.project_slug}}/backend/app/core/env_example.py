"""Writes `.env.example` from the settings: `python -m app.core.env_example > ../.env.example`."""

import json
from collections.abc import Iterator

from app.core.config import Settings

_HEADING = """\
# Every setting with its default. Copy this file to .env and uncomment what you change.
# This file is generated: cd backend && python -m app.core.env_example > ../.env.example"""


def render() -> str:
    """Return the text of `.env.example`."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEADING
    for name, field in Settings.model_fields.items():
        if isinstance(field.json_schema_extra, dict):
            yield from ("", f"# --- {field.json_schema_extra['group']} ---")
        default = field.default
        value = default if isinstance(default, str) else json.dumps(default)
        yield from ("", f"# {field.description}", f"#{name}={value}")


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - printing is what it is for
