"""Builds Ferry's images, says what is in them, and runs the whole of Ferry from them."""
