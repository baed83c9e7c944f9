"""Calculates what a training run would need."""
