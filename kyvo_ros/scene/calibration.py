"""Calibration: from what a model claims of its objects to what held-out images showed the claims to be worth.

A model states a probability for each word of an object and one for the object as a whole. What the words leave of the
latter is the confidence in the place (presence, and position near the stated one). Each of them is raised or lowered by
a temperature of its own, and their product is the object's confidence again. Positions and words never change.
Fitting is `kyvo_ros.evaluation.calibration`'s business. Source: Guo et al. 2017, arXiv 1706.04599, for temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from kyvo_ros.scene.types import Scene, SceneObject


@dataclass(frozen=True)
class Calibration:
    """Temperatures and factors, all positive; as it comes it changes nothing."""

    attribute_temperatures: Mapping[str, float] = field(default_factory=dict)  # by attribute; 1 where not named
    place_temperature: float = 1.0  # of what the words leave of an object's confidence
    variance_factors: tuple[float, float] = (1.0, 1.0)  # of the position's variance along x and y of the plane frame

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute_temperatures", MappingProxyType(dict(self.attribute_temperatures)))
        object.__setattr__(self, "variance_factors", tuple(self.variance_factors))
        if len(self.variance_factors) != 2:
            raise ValueError(f"variance_factors must be two numbers (x, y), got {self.variance_factors}")
        numbers = {**{f"temperature of {name}": t for name, t in self.attribute_temperatures.items()},
                   "place_temperature": self.place_temperature,
                   **{f"variance factor of {axis}": f for axis, f in zip("xy", self.variance_factors)}}
        for name, number in numbers.items():
            if not 0 < number < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {number}")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"attribute_temperatures": dict(self.attribute_temperatures),
                "place_temperature": self.place_temperature, "variance_factors": list(self.variance_factors)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_dict`. TypeError names an unknown field, ValueError a bad value."""
        return cls(**values)

    def apply(self, scene: Scene) -> Scene:
        """The scene with calibrated confidences and covariances; a scene in the support-plane frame, in any unit."""
        return replace(scene, objects=tuple(map(self._object, scene.objects)))

    def _object(self, thing: SceneObject) -> SceneObject:
        words = {name: at_temperature(p, self.attribute_temperatures.get(name, 1.0))
                 for name, p in thing.attribute_confidence.items()}
        place = at_temperature(place_confidence(thing), self.place_temperature)
        covariance = thing.position_covariance_m2
        if covariance is not None:
            spread = np.sqrt([*self.variance_factors, 1.0])
            covariance = covariance * np.outer(spread, spread)
        return replace(thing, confidence=math.prod((*words.values(), place)), attribute_confidence=words,
                       position_covariance_m2=covariance)


def place_confidence(thing: SceneObject) -> float:
    """What the words leave of an object's confidence: that something is there, and near the stated place."""
    words = math.prod(thing.attribute_confidence.values())
    return min(thing.confidence / words, 1.0) if words > 0 else 0.0


def at_temperature(probability: float, temperature: float) -> float:
    """A probability whose odds are taken to the power 1 / temperature: over 1 it moves towards a half.

    For a choice between two this is the softmax at that temperature; among more, the chosen one against the rest.
    """
    if temperature == 1.0 or not 0.0 < probability < 1.0:
        return probability
    log_odds = (math.log(probability) - math.log1p(-probability)) / temperature
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds > -700.0 else 0.0
