"""An endless, seeded stream of rendered scenes in which every object can be seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from kyvo_ros.data.placement import PlacementError, PlacementSettings, SceneBatch, place_again, sample_scenes
from kyvo_ros.data.raycaster import Raycaster

#: Size of the image in which `PlacementSettings.min_visible_pixels` counts.
REFERENCE_PIXELS = 320 * 240
#: Rounds in which hidden objects get a new place before all objects of their scene do, and how often that is tried.
ROUNDS, FRESH_STARTS = 20, 5


def visible_scenes(rng: np.random.Generator, batch: int, placement: PlacementSettings, raycaster: Raycaster
                   ) -> SceneBatch:
    """Draw scenes in which every object shows enough pixels; hidden ones are placed again, and counts stay uniform.

    Raises PlacementError when some scenes never show all their objects.
    """
    scenes = sample_scenes(rng, batch, settings=placement)
    enough = placement.min_visible_pixels * raycaster.width * raycaster.height / REFERENCE_PIXELS
    rows = np.arange(batch)
    for turn in range(ROUNDS * FRESH_STARTS):
        part = scenes.select(rows)
        hidden = (raycaster.visible_pixels(part) < enough) & part.mask
        bad = hidden.any(axis=1)
        if not bad.any():
            return scenes
        rows, part, hidden = rows[bad], part.select(bad), hidden[bad]
        move = part.mask if turn % ROUNDS == ROUNDS - 1 else hidden
        part = place_again(rng, part, move, settings=placement)
        scenes.position[rows] = part.position
    raise PlacementError(f"{len(rows)} of {batch} scenes cannot show {placement.min_visible_pixels} pixels of every "
                         "object; ask for fewer pixels or fewer objects")


def stream_scenes(seed: int, batch: int, placement: PlacementSettings, raycaster: Raycaster
                  ) -> Iterator[tuple[Tensor, SceneBatch, np.ndarray]]:
    """Endless batches of images (B, H, W, 3) uint8 RGB, their scenes, and visible pixels (B, N) float32.

    The seed decides everything: the same settings and seed give the same stream.
    """
    rng = np.random.default_rng(seed)
    while True:
        scenes = visible_scenes(rng, batch, placement, raycaster)
        images, visible = raycaster.render(scenes, seed=int(rng.integers(2**62)))
        yield images, scenes, visible
