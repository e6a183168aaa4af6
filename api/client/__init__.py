"""The client SDK: :class:`cormorant.Client` and :class:`cormorant.AsyncClient`.

``exchange`` (send, judge, wait, send again), ``service`` and ``core`` (what the calls on a server
and on a collection ask, and how the replies read) and ``upload`` (documents in parts) do no input
or output: they are generators that hand out requests and take replies. ``connection`` drives them
over httpx2, waiting or awaiting; ``client``, ``collection`` and their twins ``async_client``,
``async_collection`` are what users see.
"""

from .settings import Clock, Retries, Timeouts

__all__ = ["Clock", "Retries", "Timeouts"]
