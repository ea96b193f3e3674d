"""One finding of the doctor."""

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """What a check found, what it means, what to do; `details` hold the numbers, plain JSON types.

    error: training would stop or mislead; warning: results may mislead unless something is done; info: good to know.
    """

    check: str
    severity: Severity
    what: str
    means: str = ""
    do: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The finding in words: one line, then what it means and what to do."""
        rest = " ".join(text for text in (self.means, self.do) if text)
        return [f"{self.severity:<7}  {self.check}: {self.what}", *([f"           {rest}"] if rest else [])]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(vars(self))


def listed(names: list[str], most: int = 20) -> str:
    """Names, the first `most` of them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
