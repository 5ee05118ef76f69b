"""From data or a checkpoint to a published version: the steps of each kind of model, put together."""
