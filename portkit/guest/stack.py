"""How the images of several services share one disk: a tree for each of their layers. Pure.

A layer is known by its chain, which is itself and all below it in its image, because what a layer
leaves unsaid (the rights of a folder that it does not name) is as the layers below have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from portkit.model import ImageConfig

Chain = tuple[str, ...]  # diff ids, bottom first


def chains(images: Iterable[ImageConfig]) -> tuple[Chain, ...]:
    """Every chain of the images once, those that another one begins with before it.

    A chain's place is the name of its tree on the disk, below `layers/`.
    """
    found: dict[Chain, None] = {}
    for image in images:
        for length in range(1, len(image.diff_ids) + 1):
            found.setdefault(image.diff_ids[:length])
    return tuple(found)


def trees(images: Sequence[ImageConfig]) -> Mapping[str, tuple[int, ...]]:
    """The trees of each image, by its digest: the topmost first, as overlayfs wants them."""
    place = {chain: number for number, chain in enumerate(chains(images))}
    return {
        image.digest: tuple(
            place[image.diff_ids[:length]] for length in range(len(image.diff_ids), 0, -1)
        )
        for image in images
    }
