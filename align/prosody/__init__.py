"""Pitch and loudness of each voice, and the part of them that can be heard before a moment."""
