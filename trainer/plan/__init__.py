"""What a training would need, by calculation."""
