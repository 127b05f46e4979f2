"""Which questions are asked about the pictures of a batch, and which tokens of an image they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.sim.queries import Kind, Query, sample_queries
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES, label_of
from training.dataset import Pictures, Pool
from training.language import Exchange, Writer

QUERIES = 2  # about each picture: one for every object, and QUERIES - 1 of these
KINDS = {Kind.PRESENT: 0.5, Kind.MIXED: 0.2, Kind.ABSENT: 0.3}
# At the end: what is not there is answered too easily after a stage in which most of what is asked for is.
POLISH_KINDS = {Kind.PRESENT: 0.37, Kind.MIXED: 0.16, Kind.ABSENT: 0.47}


def ask(
    pool: Pool,
    indices: NDArray[np.int64],
    pictures: Pictures,
    writer: Writer,
    rng: np.random.Generator,
    kinds: Mapping[Kind, float],
    single: bool,
) -> tuple[list[Exchange], list[int], NDArray[np.float32]]:
    """QUERIES questions about each picture, shortest first.

    kinds: how often which kind of query is asked beside the one for every object. single: only the first text of
    each query is asked for.
    Returns the exchanges, the picture of each, and (N, tokens, OWNERS) whether each token's objects are asked for:
    1 yes, 0 no, -1 no object.
    """
    exchanges, about, wanted = [], [], []
    for place, index in enumerate(indices):
        asked, hidden = pool.things(int(index), pictures.mirrored[place])
        for query in _queries([thing.label for thing in asked], hidden, kinds, single, rng):
            exchanges.append(writer.write(query.texts, query.expected(asked)))
            about.append(place)
            wanted.append(_wanted(pictures.owners[place], query))
    order = np.argsort([len(exchange.ids) for exchange in exchanges], kind="stable")
    return [exchanges[i] for i in order], [about[i] for i in order], np.stack([wanted[i] for i in order])


def _queries(
    labels: Sequence[str],
    hidden: Sequence[str],
    kinds: Mapping[Kind, float],
    single: bool,
    rng: np.random.Generator,
) -> list[Query]:
    chosen = [list(kinds)[i] for i in rng.choice(len(kinds), QUERIES - 1, p=list(kinds.values()))]
    queries = sample_queries(labels, [Kind.EVERY, *chosen], rng, hidden)
    return [Query(query.texts[:1], query.kind) for query in queries] if single else queries


def _wanted(owner: NDArray[np.float32], query: Query) -> NDArray[np.float32]:
    """(*GRID, OWNERS, 6) -> (tokens, OWNERS)."""
    shape, colour = owner[..., 0].astype(int), owner[..., 1].astype(int)
    out = np.full(shape.shape, -1.0, np.float32)
    for s, c in {(s, c) for s, c in zip(shape.ravel().tolist(), colour.ravel().tolist(), strict=True) if s}:
        label = label_of(COLOURS[c - 1], SHAPES[s - 1])
        out[(shape == s) & (colour == c)] = bool(query.text_for(label))
    return out.reshape(-1, owner.shape[2])
