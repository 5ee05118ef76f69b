"""`ferry doctor`: whether a namespace with Ferry is as it should be, from outside in."""

from cli.doctor.command import doctor

__all__ = ["doctor"]
