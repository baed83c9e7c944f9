"""The page the server sends: plain HTML, CSS and modules, as they stand."""
