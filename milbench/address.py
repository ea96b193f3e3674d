"""What stays chosen on the way from one app to the next, as the page on which a link of the navigation was clicked has it."""

from urllib.parse import parse_qsl, urlencode, urlsplit

CARRIED = ("store", "study", "run")
"""What stays chosen."""
NAVIGATION = "nav"
"""Marks a link of the navigation: the page may have chosen something else since it wrote the link."""


def followed(query: str, referer: str) -> str | None:
    """The query that a click in the navigation means: what the link says, and above that what its page's address says by now.

    None where the address is not of such a link.
    """
    asked = dict(parse_qsl(query))
    if asked.pop(NAVIGATION, None) is None:
        return None
    page = urlsplit(referer)
    now = dict(parse_qsl(page.query)) if page.path.startswith("/apps/") else {}
    return urlencode({**asked, **{name: now[name] for name in CARRIED if name in now}})
