"""Runs of a model for suspects, in a process that dies alone."""
