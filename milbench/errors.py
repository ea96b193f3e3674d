"""The errors a user can meet: one line that says where, what we got, and what would be right."""


class MilbenchError(Exception):
    """A mistake that the user can mend; the command line prints it as one line and exits with `status`.

    `where` is a file, flag or object; `row` (1-based, without the header) and `column` narrow it down;
    `got` is what was found, `want` what would be right, `do` the next step.
    """

    status = 2
    """2: bad input; 1 where no input is to blame."""

    def __init__(
        self,
        where: object,
        what: str = "",
        *,
        row: object = None,
        column: object = None,
        got: object = None,
        want: str = "",
        do: str = "",
    ) -> None:
        place = [str(where)]
        if row is not None:
            place.append(f"row {row}")
        if column is not None:
            place.append(f"column {column}")
        said = [part for part in (what, f"got {got!r}" if got is not None else "", f"want {want}" if want else "") if part]
        line = f"{', '.join(place)}: {', '.join(said)}"
        super().__init__(" ".join(f"{line}; {do}".split()) if do else " ".join(line.split()))
        self.where, self.row, self.column, self.got = where, row, column, got


class DataError(MilbenchError):
    """A table, a bag store or a fold cannot be used as it is."""


class ConfigError(MilbenchError):
    """A setting or a hyperparameter is unknown, out of range, or contradicts another."""


class StudyError(MilbenchError):
    """A study cannot be joined, or went wrong in a way that the user must know of."""


class ClusterError(MilbenchError):
    """The cluster refuses a job, or does not answer."""

    status = 1


class DiskError(MilbenchError):
    """A file cannot be written because the disk is full or a quota is used up."""

    status = 1
