"""Finds movement, scene cuts, faces, hands and bodies in full-size frames at a set rate. docs/cues.md."""
