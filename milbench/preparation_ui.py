"""How the data app asks for a preparation: what to make, and with which folds."""

from typing import Any

import marimo as mo

from milbench.prepare_config import PrepareConfig

MADE, NONE_MADE = "with the folds made above", "without folds: none are made above yet"


def prepare_settings() -> Any:
    """Controls for features and conformers, as the command's defaults have them."""
    from milbench.chem.descriptors import SETS_2D, SETS_3D  # RDKit

    first = PrepareConfig
    return mo.ui.dictionary(
        {
            "sets_2d": mo.ui.multiselect(list(SETS_2D), value=first.sets_2d, label="2D features"),
            "sets_3d": mo.ui.multiselect(list(SETS_3D), value=first.sets_3d, label="Conformer features"),
            "conformers": mo.ui.slider(0, 50, value=first.conformers, label="Conformers a molecule", show_value=True),
            "mmff": mo.ui.slider(0, 500, step=50, value=first.mmff, label="MMFF94s steps", show_value=True),
        }
    )


def fold_choice(made: bool) -> mo.ui.checkbox:
    """Whether to prepare with the folds that were made; there is no choice before some are."""
    return mo.ui.checkbox(value=made, disabled=not made, label=MADE if made else NONE_MADE)
