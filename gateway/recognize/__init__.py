"""The way of one image and of a batch through the gateway."""
