"""Overlapped speech of speakers who share a channel, taken apart by a network that has passed a test."""
