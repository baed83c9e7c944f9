"""What is seen: movement, scene cuts and faces, from full-size frames at a set rate. docs/cues.md."""
