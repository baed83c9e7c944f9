"""Labelers: small functions from a conversation to cues of one label, one file each."""
