"""Boxes and labels drawn into pictures."""
