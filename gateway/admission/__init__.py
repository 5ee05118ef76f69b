"""Who may ask, for how much, and how much at once."""
