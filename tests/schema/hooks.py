"""Keeps schemathesis from shutting itself out: an operator may suspend, and erase, its own tenant."""

from collections.abc import Mapping
from typing import Any

import schemathesis

OWN = "operations"  # of the operator whose token is used
OTHER = "globex"


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: Mapping[str, object]
) -> None:
    """Ask for another tenant instead."""
    if case.path_parameters.get("name") == OWN:
        case.path_parameters["name"] = OTHER
