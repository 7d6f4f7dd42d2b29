"""Privacy: takes personal data and secrets out of plain data. Pure, and without dependencies."""

from collections.abc import Mapping
from functools import cache

from app.privacy.names import is_sensitive
from app.privacy.patterns import is_absolute, last_component
from app.privacy.text import scrub_text
from app.privacy.walk import Redaction, explain, scrub, scrub_string

__all__ = [
    "PIIFilter",
    "Redaction",
    "explain",
    "get_pii_filter",
    "is_absolute",
    "is_sensitive",
    "last_component",
    "scrub",
    "scrub_string",
    "scrub_text",
]


class PIIFilter:
    """The scrubbing functions, for those who are handed an object. It keeps no state."""

    def filter_string(self, text: str) -> str:
        """Return the text with all that is private in it replaced."""
        return scrub_string(text)

    def filter_dict(self, data: Mapping[str, object]) -> dict[str, object]:
        """Return a scrubbed copy of a mapping, at any depth, by its names and by its values."""
        scrubbed = scrub(data)
        return dict(scrubbed) if isinstance(scrubbed, Mapping) else {}

    def filter_exception(self, exception: BaseException) -> dict[str, str]:
        """Describe an exception: its `type`, the `module` of that, and its scrubbed `value`.

        An exception that fails to say what it is has an empty value.
        """
        try:
            value = str(exception)
        except Exception:
            value = ""
        kind = type(exception)
        return {
            "type": kind.__name__,
            "module": kind.__module__,
            "value": scrub_string(value),
        }


@cache
def get_pii_filter() -> PIIFilter:
    """Return the filter that the whole process shares."""
    return PIIFilter()
