"""The report is one file that works offline and says what the statistics say."""

import dataclasses
import re
from pathlib import Path

import pandas as pd

from milbench.data.scoreboard import at_first, board, compared
from milbench.figures.page import Section, page
from milbench.score_report import readable, score_report, verdicts
from results import make_result


def test_a_report_holds_every_score_and_needs_no_network(tmp_path: Path):
    a, b = make_result(), make_result(1, run="b", skill=2)
    text = score_report([a, b], [(a, b)], tmp_path)
    assert text.count("plotly.js v") == 1
    assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?http""", text)
    scores = board([a, b], tmp_path)
    for words in [*readable(scores)["AP"], *verdicts(compared(a, b, tmp_path).table)["difference"]]:
        assert f">{words}<" in text
    assert f">{a.title}</th>" in text and f">{b.title}</th>" in text
    assert "<h1>Scores of a, b</h1>" in text and "simulated" not in text
    assert "Data set x, its endpoints simulated. milbench" in score_report(
        [a], [], tmp_path, "Data set x, its endpoints simulated"
    )
    assert "[" in readable(scores)["AP"][0] and readable(scores)["AP"][0].endswith("ʷ")


def test_scores_are_shown_before_their_intervals_are_drawn_and_only_then(tmp_path: Path):
    a, b = make_result(), make_result(1, run="b")
    scores = board([a], tmp_path)
    first = at_first([a, b], tmp_path)
    assert len(first) == len(b.names) and at_first([a], tmp_path).empty
    later = board([b], tmp_path)
    assert (
        first[["n", "positives", "AP", "ROC-AUC"]].to_numpy().tolist()
        == later[["n", "positives", "ap", "auc"]].to_numpy().tolist()
    )
    assert len(scores) == len(a.names)


def test_what_people_wrote_cannot_become_markup(tmp_path: Path):
    evil = dataclasses.replace(make_result(), run="<script>alert(1)</script>")
    assert "<script>alert(1)" not in score_report([evil], [], tmp_path)
    assert "<b>" not in page("<b>", "<b>", [Section("<b>", "<b>", [pd.DataFrame({"<b>": ["<b>"]})])])
