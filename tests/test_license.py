"""The license of a generated project: its standard text to the word, and its author's name."""

import hashlib

import pytest

from bakery import LICENSES, Bakery

AUTHOR = "Zoë O'Brien & Søn Ltd"

# SHA-256 of each text's words, with the author's name replaced. The texts were compared with those
# of Debian (Apache-2.0) and of packages on PyPI (MIT: aiosqlite and fifty more; BSD: click, jinja2).
STANDARD = {
    "MIT": "51004942ca5dcf5c44730c27f7cce40da8e51a3a06a8fc7d430da96e1d1b8bde",
    "BSD-3-Clause": "646b6fc395809cfd3dfe88201848d77739e712e66c3e49512b2799c2c3605017",
    "Apache-2.0": "a9e73da11e97b609c492bdc844b21a376aa0ad42a020abdeb96ae43b3f81d136",
}


@pytest.mark.parametrize("name", LICENSES)
def test_the_license_is_the_one_chosen_and_names_the_author(bakery: Bakery, name: str) -> None:
    text = (bakery.project({"license": name, "author_name": AUTHOR}) / "LICENSE").read_text()
    assert text.count(AUTHOR) == 1
    words = " ".join(text.replace(AUTHOR, "NAME").split())
    if name == "Proprietary":
        assert words.startswith("Copyright (c) NAME. All rights reserved.")
        assert "licen" not in words.lower()
    else:
        assert hashlib.sha256(words.encode()).hexdigest() == STANDARD[name]
