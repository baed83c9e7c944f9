"""The annotators' room: the store of their decisions, the queue, the server and its page."""
