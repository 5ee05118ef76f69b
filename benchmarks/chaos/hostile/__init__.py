"""Inputs that are broken or meant to hurt, very many of them."""
