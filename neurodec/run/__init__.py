"""Running a recipe: reading it, its stages in order, folds, processes, and the pictures that they draw."""
