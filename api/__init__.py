"""The REST server, the web page and the client SDK."""
