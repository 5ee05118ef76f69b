"""Imports of packages that do more on import than they should."""
