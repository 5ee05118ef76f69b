"""Faults on a real cluster under load, each with a verdict. `make chaos`."""
