"""What a user could do in an afternoon, on the same molecules and folds as a study: table models and poolings."""
