"""What serves a model: its host, its backends, its batches, and how it runs best here."""
