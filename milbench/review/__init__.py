"""A study read to be understood: trials, folds, curves, what mattered, two trials side by side. Loads no torch."""
