"""Annotation files of other tools: read beside recordings, and written for them."""
