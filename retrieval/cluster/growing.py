"""Adding shards: what must move is copied, then the searches are switched over, then it is deleted.

The story, each step durable before the next, so that a kill leaves one of them:

1. the new shards are made, and named by the cluster's catalog as being filled. Searches do not ask
   them; a write goes to a document's old place and to its new one;
2. page by page the documents that move are copied, with the encodings they have. How far each old
   shard was looked at is noted after each page, and no write comes in between the reading of a page
   and its writing: what a later write changes has been written to both places;
3. with nobody writing and no search beginning, the catalog says that all shards serve, the old
   ones drop what they gave away, and the catalog says that it is done. Searches that are under way
   see the versions they pinned. A kill here is finished when the cluster is opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .layout import CollectionLayout, Growth, ShardState
from .moving import Page

if TYPE_CHECKING:
    from .router import Router

PAGE = 500


def with_new_shards(layout: CollectionLayout, n_shards: int, replicas: int) -> CollectionLayout:
    """The layout once empty shards were made."""
    new = ShardState(0, (True,) * replicas)
    added = n_shards - layout.n_shards
    return replace(
        layout,
        shards=(*layout.shards, *([new] * added)),
        growth=Growth(n_shards, (-1,) * layout.n_shards),
    )


def fill(router: Router) -> None:
    """Steps 2 and 3 for a collection whose layout says that it grows; goes on where it stood."""
    ended = [False] * router.layout.n_shards
    while not all(ended):
        for shard in range(router.layout.n_shards):
            with router.writing:
                router.check_open()
                ended[shard] = _copy_page(router, shard)
    with router.writing:
        for shard in range(router.layout.n_shards):
            while not _copy_page(router, shard):
                pass
        assert router.layout.growth is not None
        with router.gate.alone():
            switched = replace(router.layout.growth, switched=True)
            router.note(replace(router.layout, n_shards=router.layout.growth.to, growth=switched))
            try:
                clean(router)
            except BaseException:
                # Old shards may still have what they gave away: nobody shall find it twice.
                router.close()
                raise


def clean(router: Router) -> None:
    """The end of step 3; nobody writes or begins to search meanwhile."""
    growth = router.layout.growth
    assert growth is not None
    gone: dict[int, tuple[str, list[str]]] = {}
    for shard in range(len(growth.moved_until)):
        at: int | None = -1
        names: list[str] = []
        while at is not None:
            page: Page = router.shards[shard].ask("to_move", shard, growth.to, at, PAGE)
            names += [item.id for moved in page.moved.values() for item in moved.documents]
            at = page.until
        if names:
            gone[shard] = "delete", names
    router.write(gone)
    router.note(replace(router.layout, growth=None))


def _copy_page(router: Router, shard: int) -> bool:
    """Copy the next page of an old shard; whether it was the last for now."""
    growth = router.layout.growth
    assert growth is not None
    after = growth.moved_until[shard]
    page: Page = router.shards[shard].ask("to_move", shard, growth.to, after, PAGE)
    router.write({place: ("add_moved", moved) for place, moved in page.moved.items()})
    until = list(growth.moved_until)
    until[shard] = page.last
    if page.last != after:
        router.note(replace(router.layout, growth=replace(growth, moved_until=tuple(until))))
    return page.until is None
