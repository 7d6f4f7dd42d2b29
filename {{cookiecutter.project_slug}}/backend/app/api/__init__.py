"""What the routes of all slices share: here, how lost updates are refused.

A change names the version that it read, as RFC 9110 has it in section 13.1.1.
"""

import re
from typing import Annotated

from fastapi import Depends, Header

from app.core.errors import Problem

_ETAG = re.compile(r'"([1-9][0-9]{0,17})"')


class Outdated(Problem):
    """Somebody else changed it in the meantime."""

    def __init__(self) -> None:
        super().__init__(412, "It was changed in the meantime: read it again.")


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def get_version_read(
    if_match: Annotated[
        str | None, Header(description="The `ETag` that was read.", examples=['"1"'])
    ] = None,
) -> int:
    """Return the version that a change is based on; 428 where the caller names none."""
    if if_match is None:
        raise Problem(428, "Name the version that you read: send its ETag as If-Match.")
    if not (found := _ETAG.fullmatch(if_match.strip())):
        raise Outdated
    return int(found[1])


VersionRead = Annotated[int, Depends(get_version_read)]
