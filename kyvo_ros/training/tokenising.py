"""Images with their scenes as published pre-tokenised JSON, by the image tokenizer and the grammar of a model folder.

Images are stretched to the tokenizer's square, as the published code does whatever their camera; numbers beyond the
ends of the grid go to them. Objects of other names than the model's are left out, and so are those beyond its most
objects: the farthest first where the camera's frame tells, else the last.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from kyvo_ros.autoencoders.image_tokenizer import ImageCodec, images_to_tensor
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.schema import SceneSchema

log = logging.getLogger(__name__)

IMAGES, SCENES = "vqgan_indices.json", "tokenized_scenes.json"


def stretched(image_rgb: np.ndarray, tokenizer: ImageCodec) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) uint8, the whole image in the tokenizer's size."""
    return cv2.resize(image_rgb, (tokenizer.config.width, tokenizer.config.height), interpolation=cv2.INTER_AREA)


def codes_of(images_rgb: Sequence[np.ndarray], tokenizer: ImageCodec) -> np.ndarray:
    """Images of any size -> codes (B, h, w) int64."""
    device = tokenizer.codebook.device
    images = np.stack([stretched(image, tokenizer) for image in images_rgb])
    return tokenizer.encode(images_to_tensor(images).to(device)).cpu().numpy()


def writable(scene: Scene, schema: SceneSchema) -> Scene:
    """What a schema of one word can say of a scene in its frame, objects in their order."""
    (word,), depth = schema.words, schema.location.depth
    known = [o for o in scene.objects if o.attributes[word.name] in word.values]
    near = sorted(known, key=lambda o: o.position_m[2] if depth else 0.0)[:schema.max_objects]
    return replace(scene, objects=tuple(o for o in known if any(o is kept for kept in near)))


@torch.no_grad()
def tokenise(samples: Iterable[tuple[str, np.ndarray, Scene]], count: int, bundle: ModelBundle,
             folder: str | Path) -> tuple[Path, Path]:
    """Write IMAGES and SCENES of `count` samples, each a key, an image (H, W, 3) uint8 RGB and its scene in the frame
    of the bundle's schema; the paths of the two.
    """
    folder = Path(folder)
    images, scenes, left_out = {}, {}, 0
    for key, image, whole in tqdm(samples, desc="tokens", total=count, unit="image", mininterval=5):
        scene = writable(whole, bundle.schema)
        left_out += len(whole) - len(scene)
        images[key] = codes_of([image], bundle.image_tokenizer).ravel().tolist()
        scenes[key] = {"token_ids": [int(i) for i in bundle.grammar.encode_scene(scene, "clamp")],
                       "string": {"file_path": key}}
    if left_out:
        log.warning("%d objects that the model has no words or no room for were left out", left_out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in ((IMAGES, images), (SCENES, scenes)):
        (folder / name).write_text(json.dumps(entries), encoding="utf-8")
    return folder / IMAGES, folder / SCENES
