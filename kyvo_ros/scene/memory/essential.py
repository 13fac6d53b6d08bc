"""The relations that tell all the others: what a drawing of a graph needs, and no more.

Right and front are left and behind the other way round. Of a chain (a is left of b, b of c) the link between its ends
says nothing new. Near goes both ways, and is named once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kyvo_ros.scene.memory.relations import NEAR, NamedRelation

#: Of the relations between two objects, those that are named; the others are the same the other way round.
DRAWN = ("left", "behind", NEAR)


def essential_relations(relations: Sequence[NamedRelation]) -> list[NamedRelation]:
    """Those of the relations between objects from which the others follow, by predicate in the order of DRAWN."""
    ids = sorted({name for r in relations if r.predicate in DRAWN for name in (r.subject_id, r.object_id)})
    row = {name: i for i, name in enumerate(ids)}
    found = []
    for predicate in DRAWN:
        holds = np.zeros((len(ids), len(ids)), dtype=np.float32)  # multiplied much faster than bool
        for r in relations:
            if r.predicate == predicate:
                holds[row[r.subject_id], row[r.object_id]] = 1
        kept = np.triu(holds) if predicate == NEAR else holds * (holds @ holds == 0)
        found += [NamedRelation(ids[i], predicate, ids[j]) for i, j in np.argwhere(kept)]
    return found
