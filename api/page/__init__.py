"""The web page, as files: HTML, CSS and ES modules that the server hands out unchanged."""
