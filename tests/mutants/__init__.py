"""Mutants: copies of the package with one guarantee taken out."""
