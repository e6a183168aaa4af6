"""The report of an evaluation: one page that needs nothing beside it, and its plots as files.

``section`` looks at one data set while its collection is there, ``contrasts`` and ``reasons`` find
the queries that two pipelines answer most differently, ``plots`` draws in the style of ``drawing``,
and ``page`` writes it all.
"""
