"""What the app tests take for an error on a page's console."""

import pytest

from workbench import is_error

DRAWN = "PlotlyPlugin:  TypeError: Cannot read properties of undefined (reading '{}')\n    at A (http://127.0.0.1:1/assets/Plot.js:7:1)"


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        ("error", DRAWN.format("_redrawFromAutoMarginCount"), False),
        ("error", DRAWN.format("data"), True),
        ("error", "Failed to load resource", True),
        ("log", "Traceback (most recent call last): …", True),
        ("log", "Runtime is healthy", False),
    ],
)
def test_every_error_counts_but_that_of_a_figure_taken_away(kind: str, text: str, error: bool) -> None:
    assert is_error(kind, text) is error
