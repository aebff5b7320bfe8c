"""Comparisons: methods, modes, budgets and seeds as a grid of runs at equal bytes."""
