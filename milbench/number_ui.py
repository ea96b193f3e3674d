"""Numbers that the apps ask for: one that will not do, typed or in the address, is said in one line and never replaced."""

import html
from dataclasses import dataclass
from typing import Any

import marimo as mo

from milbench import ui
from milbench.errors import ConfigError
from milbench.palette import STATES


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`; a whole one where both and `step` are."""

    label: str
    least: float
    most: float
    step: float = 1

    def read(self, given: object) -> float:
        """What was given, as a number; a ConfigError where it is none that will do."""
        whole = all(isinstance(end, int) for end in (self.least, self.most, self.step))
        try:
            value = float(str(given))
        except ValueError:
            value = float("nan")
        if not self.least <= value <= self.most or (whole and not value.is_integer()):
            want = f"a {'whole ' if whole else ''}number from {self.least:,} to {self.most:,}"
            raise ConfigError(self.label, got=given, want=want)
        return int(value) if whole else value

    def asked(self, name: str, default: float) -> float:
        """What the URL says for `name`, else `default`; one that will not do ends the cell with just that, and a way back."""
        given = ui.param(name)
        try:
            return self.read(given) if given else default
        except ConfigError as error:
            ui.say(str(error))
            back = ui.instead(str(error), self.label, {f"{default:,}": {**ui.address(), name: default}})
        mo.stop(True, back)
        raise AssertionError("mo.stop stops")

    def field(self, name: str, default: float) -> mo.ui.number:
        """A field that begins with what the URL says. It has no ends: it would change what is typed beyond them, in silence."""
        return mo.ui.number(step=self.step, value=self.asked(name, default), label=self.label)

    def slider(self, name: str, default: float, **more: Any) -> mo.ui.slider:
        """A slider that begins with what the URL says."""
        start = self.asked(name, default)
        return mo.ui.slider(self.least, self.most, self.step, value=start, label=self.label, show_value=True, **more)

    def beside(self, control: Any) -> mo.Html:
        """The control of this number, and below it what is wrong with what was typed."""
        try:
            self.read(control.value)
        except ConfigError as error:
            alert = f'<span role="alert" style="color:{STATES["failed"]}">{html.escape(str(error))}</span>'
            return mo.Html(f"<div>{control}<br>{alert}</div>")
        return control
