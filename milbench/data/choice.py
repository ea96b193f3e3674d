"""The features and conformers that a run is given, of all that a data set has."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec

import torch

from milbench.data.bags import BagData
from milbench.errors import ConfigError
from milbench.features import FeatureChoice
from milbench.files import content_hash

CHOSEN = "chosen"
"""Where the provenance of a data set says what was chosen of it."""


def choose(bags: BagData, choice: FeatureChoice) -> BagData:
    """The molecules with the chosen columns and conformers alone; a name that means no column is a ConfigError.

    The data's content is then another one, and what was chosen stands in its notes and its provenance.
    """
    asked = choice.to_dict()
    if not asked:
        return bags
    names2d = chosen_columns(bags.names2d, choice.features2d, "--features2d")
    names_inst = chosen_columns(bags.names_inst, choice.features3d, "--features3d")
    fewer = bags.with_features(names2d, names_inst, "the data")
    fewer = fewer if choice.conformers is None else first_conformers(fewer, choice.conformers)
    notes = (
        f"{len(names2d):,} of {len(bags.names2d):,} 2D and {len(names_inst):,} of {len(bags.names_inst):,} conformer columns, "
        f"{len(fewer.conf_ids):,} of {len(bags.conf_ids):,} conformers are used",
    )
    told = repr((names2d, names_inst, choice.conformers))
    content = content_hash(text=f"{bags.content} {told}") if bags.content else ""
    provenance = {**bags.provenance, CHOSEN: asked}
    return dataclasses.replace(fewer, content=content, notes=(*bags.notes, *notes), provenance=provenance)


def first_conformers(bags: BagData, count: int) -> BagData:
    """The molecules with the first `count` conformers of each; 0: bags that are empty."""
    sizes = bags.offsets.diff().clamp(max=count)
    offsets = torch.zeros_like(bags.offsets)
    torch.cumsum(sizes, 0, out=offsets[1:])
    segment = torch.repeat_interleave(torch.arange(len(bags)), sizes, output_size=int(offsets[-1]))
    rows = torch.arange(int(offsets[-1])) + (bags.offsets[:-1] - offsets[:-1])[segment]
    return dataclasses.replace(bags, xinst=bags.xinst[rows], offsets=offsets, conf_ids=bags.conf_ids[rows.numpy()])


def without_conformers(bags: BagData, names: tuple[str, ...]) -> BagData:
    """The molecules with empty bags, whose conformers would have had the columns `names`."""
    nothing = torch.zeros((0, len(names)), dtype=bags.xinst.dtype)
    offsets = torch.zeros_like(bags.offsets)
    return dataclasses.replace(bags, xinst=nothing, offsets=offsets, conf_ids=bags.conf_ids[:0], names_inst=names)


def chosen_columns(names: Sequence[str], patterns: Sequence[str], flag: str) -> tuple[str, ...]:
    """Of `names` those that any pattern means, in their order; all without patterns."""
    if not patterns:
        return tuple(names)
    wanted: set[str] = set()
    for pattern in patterns:
        found = _meant(names, pattern)
        if not found:
            want = (
                f"a set (rdkit217, morgan, whim, …), a column, or a glob such as 'morgan*'; columns: {', '.join(names[:4])}, …"
            )
            raise ConfigError(flag, "no such column in the data", got=pattern, want=want)
        wanted.update(found)
    return tuple(name for name in names if name in wanted)


def _meant(names: Sequence[str], pattern: str) -> list[str]:
    """The columns that fit a glob, or else those of the set of this name."""
    fitting = [name for name in names if fnmatchcase(name, pattern)]
    if fitting:
        return fitting
    base, *rest = pattern.split(":")
    if base in ("morgan", "atompair", "torsion"):  # of any size
        radius = ("[0-9]" if len(rest) != 2 else rest[1]) if base == "morgan" else ""
        return [name for name in names if fnmatchcase(name, f"{base}{radius}_*")]
    if find_spec("rdkit") is None:
        return []
    from milbench.chem.descriptors import SETS_2D, SETS_3D

    known = SETS_2D.get(base) or SETS_3D.get(base)
    return [] if known is None else [name for name in names if name in set(known.columns)]
