"""How good a model is on held-out clips: losses, turn taking, calibration, benchmarks."""
