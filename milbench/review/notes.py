"""What people write about a study and its trials: notes.json in the study's folder."""

from pathlib import Path

from milbench.errors import DataError
from milbench.files import read_json, write_json

NOTES = "notes.json"
STUDY = "study"
"""The note on the study as a whole; that on trial 7 is called '7'."""


def read_notes(folder: Path) -> dict[str, str]:
    """Notes by what they are about, {} before there is one."""
    path = folder / NOTES
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise DataError(path, "is not a file of notes", do="move it away")
    return found


def write_note(folder: Path, about: int | str, text: str) -> dict[str, str]:
    """Keep a note, or drop it where `text` is empty; gives all notes."""
    notes = {**read_notes(folder), str(about): text.strip()}
    kept = {name: note for name, note in notes.items() if note}
    write_json(folder / NOTES, kept)
    return kept
