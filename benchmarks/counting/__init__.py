"""What an image costs, counted and not timed, so that it can be guarded on any machine. `ferry bench counting`."""
