"""The page sent by the server: plain HTML, CSS and modules, unprocessed."""
