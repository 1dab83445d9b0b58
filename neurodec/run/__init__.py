"""Running a recipe: reading it, its stages in order, and the pictures that they draw."""

from neurodec.run.stages import run_recipe

__all__ = ["run_recipe"]
