"""Pages for people: self-contained HTML, nothing fetched, every text from outside escaped."""
