"""The apps, and what stays chosen on the way from one to the next, as the page on which a link was clicked has it."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

CARRIED = ("store", "study", "run")
"""What stays chosen."""
NAVIGATION = "nav"
"""Marks a link of the navigation: the page may have chosen something else since it wrote the link."""


@dataclass(frozen=True)
class App:
    """An app of the workbench: its file is apps/<name>.py, its address /apps/<name>/."""

    name: str
    title: str
    about: str


APPS = (
    App("home", "Home", "What is here, what is running, what to do next"),
    App("data_prep", "Data", "Look at molecules and labels, and prepare them for training"),
    App("hpo_launch", "Launch", "Choose what is searched, see the batches, start and watch a study"),
    App("study_review", "Study", "Understand a study: folds, trials, parameters"),
    App("attention", "Attention", "Which conformers each endpoint looks at"),
    App("scoreboard", "Scores", "How good, how sure, and which run is better"),
)


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
