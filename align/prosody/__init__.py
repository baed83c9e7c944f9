"""Pitch and loudness of each voice, and what of them can be heard before a moment."""
