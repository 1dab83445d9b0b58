"""Simulated recordings and the pictures that they respond to."""
