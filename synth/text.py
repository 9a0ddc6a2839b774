"""Text from files on its way to a terminal: as one line of visible characters."""

import re

HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, with which text could move the cursor, colour what follows or end a line; marks that
turn the direction of writing; halves of characters, which cannot be written."""


def is_visible(text: str) -> bool:
    return not HIDDEN.search(text)


def visible(text: str) -> str:
    """The text with every hidden character as an escape that Python knows: \\x1b, \\n, \\u202e."""
    return HIDDEN.sub(lambda found: ascii(found.group())[1:-1], text)
