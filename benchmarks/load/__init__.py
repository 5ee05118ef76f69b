"""Open-loop load on any running gateway. `ferry bench load`."""
