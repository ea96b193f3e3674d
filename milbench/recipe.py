"""How features were made: what a model must know to describe new molecules as it knows them."""

from typing import Any

RECIPE = ("neutralise", "sets_2d", "sets_3d", "conformers", "prune_rms", "mmff", "nonfinite", "seed")
"""The settings of `milbench prepare` that decide what a molecule's features are."""


def recipe_of(provenance: dict[str, Any]) -> dict[str, Any] | None:
    """The recipe of a bag store by its provenance, None where its features came in tables, or were made in several ways.

    Plain JSON: the settings `RECIPE`, `rdkit`, the version that computed them ("" if it is not known), and `own_coordinates`,
    whether the structures brought their conformers (.sdf).
    """
    parts = [recipe_of(part) for part in provenance.get("stores", ())]
    if parts:
        return parts[0] if all(same_recipe(parts[0], part) for part in parts) else None
    settings = provenance.get("settings", {})
    if not settings.keys() >= set(RECIPE):
        return None
    rdkit = provenance.get("versions", {}).get("rdkit", "")
    own = provenance.get("input", {}).get("name", "").endswith(".sdf")
    return {name: settings[name] for name in RECIPE} | {"rdkit": rdkit, "own_coordinates": own}


def same_recipe(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two recipes give the same features, whichever version of RDKit computes them."""
    return one is not None and other is not None and all(one[name] == other[name] for name in RECIPE)
