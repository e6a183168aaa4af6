"""The REST server: :func:`cormorant.api.server.app.create_app` makes one from ``Settings``.

A request's way: ``edge`` (id, log, headers, who is it) -> ``guard`` (what may this key do, is the
body fit to be read) -> a route in ``routes/`` -> ``work`` (threads, batches, deadlines) ->
``registry`` (a name, and nothing else, becomes a collection) -> back, as JSON or as a problem.
"""
