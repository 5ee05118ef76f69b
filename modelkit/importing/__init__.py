"""Checkpoints from elsewhere: read without trusting them, fitted to a network, published as versions of Ferry's."""
