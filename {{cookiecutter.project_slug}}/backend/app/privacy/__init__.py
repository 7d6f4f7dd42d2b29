"""Privacy: takes personal data and secrets out of plain data. Pure, and without dependencies."""

from app.privacy.filter import PIIFilter, get_pii_filter
from app.privacy.names import is_sensitive
from app.privacy.patterns import is_absolute, last_component
from app.privacy.text import scrub_text
from app.privacy.walk import scrub, scrub_string

__all__ = [
    "PIIFilter",
    "get_pii_filter",
    "is_absolute",
    "is_sensitive",
    "last_component",
    "scrub",
    "scrub_string",
    "scrub_text",
]
