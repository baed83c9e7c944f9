"""Reviewing: the store of annotators' decisions, the queue, the server and its page."""
