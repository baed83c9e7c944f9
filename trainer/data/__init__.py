"""From clips to batches: what a position is, how clips become documents, rows and batches."""
