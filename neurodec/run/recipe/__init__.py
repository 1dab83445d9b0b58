"""Recipes: the file, its parser, and what its sections describe."""
