"""A running conversation: 200 ms in, 200 ms out."""
