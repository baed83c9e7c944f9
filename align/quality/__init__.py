"""Measuring the quality of a clip's sound and conversation: pure functions, one small file per group."""
