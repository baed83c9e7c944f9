"""Evaluates a model on held-out clips: losses, turn taking, calibration, benchmarks."""
