"""Separates overlapped speech of speakers who share a channel, by a network that has passed a test."""
