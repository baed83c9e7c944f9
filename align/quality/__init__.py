"""What a clip's sound and conversation are worth, in figures: pure functions, one small file a group."""
