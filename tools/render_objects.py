"""Pictures of scenes of the library's objects by Blender's Cycles, for maintainers: truer light than the rasteriser's.

    python3.11 -m pip install --target blender bpy==5.0.1
    PYTHONPATH=blender .venv/bin/python tools/render_objects.py --out renders/val --count 40 --seed 100

The scenes are those that `kyvo evaluate objects` draws by the same seed: placement, camera, meshes and colours are the
same, while light, ground and gloss are Blender's. The folder is that of `kyvo_ros.data.object_folders`. A run goes on
where an earlier one stopped; a greater --count adds scenes. `--check` compares where Blender and our camera put the
objects' centres, and writes nothing. bpy 5.0 has wheels for Python 3.11 only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kyvo_ros.data.images import read_rgb
from kyvo_ros.data.object_folders import ObjectFolderError, read_records, scene_record
from kyvo_ros.data.object_scenes import ObjectScene, sample_object_scene
from kyvo_ros.scene import PinholeCamera, PlaneCamera
from kyvo_ros.scene.files import write_whole
from kyvo_ros.scene.mesh import Mesh

REPOSITORY = Path(__file__).resolve().parents[1]
#: Half the side of the ground, in units; from the lowest camera it reaches beyond the upper edge of the picture.
_GROUND = 150.0
#: Edges between faces that turn by more stay sharp.
_SMOOTH_DEG = 40.0
#: Width of Blender's sensor; only its ratio to the focal length matters.
_SENSOR = 36.0
#: Radius of a mark in `--check`, in units: a few pixels.
_MARK = 0.1
#: Blender's axes of a camera (x right, y up, z backward) in the optical frame (x right, y down, z forward).
_OPTICAL_R_BLENDER = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class AreaLight:
    """A square lamp that shines on the middle of the ground."""

    position: tuple[float, float, float]
    side: float
    brightness: float  # of a white surface at the middle of the ground that faces it
    rgb: tuple[float, float, float]

    @property
    def watts(self) -> float:
        """What Blender calls its power."""
        return math.pi**2 * float(np.dot(self.position, self.position)) * self.brightness


@dataclass(frozen=True)
class Look:
    """How a scene is lit, what it stands on, and how glossy its objects are."""

    lights: tuple[AreaLight, ...]
    sky: float  # brightness of all directions
    sky_rgb: tuple[float, float, float]
    ground_rgb: tuple[float, float, float]  # linear
    ground_roughness: float
    unevenness: float  # share by which the ground's brightness varies
    grain: float  # spots of the ground along a unit
    exposure: float  # in stops
    roughness: tuple[float, ...]  # an object each

    @classmethod
    def varied(cls, rng: np.random.Generator, count: int) -> Look:
        """A bright lamp from any side above, a weaker one from another, a dull sky; `count` objects."""
        turn, key, sky = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.45)
        lights = (_lamp(rng, turn, (35, 70), key),
                  _lamp(rng, turn + rng.uniform(1.5, 4.8), (25, 60), rng.uniform(0, 0.3)))
        grey = rng.uniform(0.1, 0.6) * (1 + rng.uniform(-0.12, 0.12, 3))
        return cls(lights, sky, _tint(rng, 0.08), tuple(map(float, grey)), rng.uniform(0.5, 1.0),
                   rng.uniform(0.0, 0.25), rng.uniform(0.3, 2.0), rng.uniform(-0.25, 0.2),
                   tuple(map(float, rng.uniform(0.25, 0.95, count))))


def _lamp(rng: np.random.Generator, azimuth: float, heights_deg: tuple[float, float], brightness: float) -> AreaLight:
    """A lamp in that direction, somewhere between two elevations."""
    elevation, distance = math.radians(rng.uniform(*heights_deg)), rng.uniform(9.0, 16.0)
    position = distance * np.array([math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth),
                                    math.sin(elevation)])
    return AreaLight(tuple(map(float, position)), rng.uniform(0.8, 4.0), float(brightness), _tint(rng, 0.1))


def _tint(rng: np.random.Generator, spread: float) -> tuple[float, float, float]:
    """White that leans to warm or to cold."""
    warm = rng.uniform(-spread, spread)
    return 1.0 + warm, 1.0, 1.0 - warm


def blender_lens(lens: PinholeCamera) -> dict[str, float]:
    """A pinhole camera as the settings of Blender's. Raises ValueError for pixels that are not square."""
    if abs(lens.fx / lens.fy - 1) > 1e-6 or lens.distortion:
        raise ValueError(f"expected square pixels without distortion, got {lens}")
    return {"lens": lens.fx / lens.width * _SENSOR, "sensor_width": _SENSOR,
            "shift_x": 0.5 - lens.cx / lens.width, "shift_y": (lens.cy - lens.height / 2) / lens.width}


def blender_pose(camera: PlaneCamera) -> np.ndarray:
    """(4, 4) pose of Blender's camera in the support-plane frame, which is Blender's world."""
    return camera.plane_T_optical().matrix() @ _OPTICAL_R_BLENDER


class Studio:
    """Blender with one scene in it at a time."""

    def __init__(self, samples: int, threads: int) -> None:
        try:
            import bpy
        except ImportError as error:
            raise SystemExit(f"{error}; this script's first lines say how to install Blender's module") from None
        self._bpy, self._samples, self._threads = bpy, samples, threads

    def render(self, made: ObjectScene, lens: PinholeCamera, look: Look, seed: int, path: Path) -> None:
        """Write the picture of a scene as PNG."""
        scene = self._empty(made.camera, lens, seed)
        self._light(look)
        self._ground(look)
        for item, roughness in zip(made.scene.objects, look.roughness, strict=True):
            self._add(item.placed_mesh(), roughness)
        cycles = scene.cycles
        cycles.use_denoising, cycles.denoising_prefilter = True, "FAST"
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 2
        scene.view_settings.exposure = look.exposure
        self._write(scene, path)

    def mark(self, point: np.ndarray, camera: PlaneCamera, lens: PinholeCamera, folder: Path) -> np.ndarray:
        """(2,) pixel at which Blender shows a point of the support-plane frame: the middle of a small shining ball."""
        bpy, scene = self._bpy, self._empty(camera, lens, 0)
        bpy.ops.mesh.primitive_uv_sphere_add(radius=_MARK, location=point.tolist())
        material, nodes, links = self._material("mark")
        emission = nodes.new("ShaderNodeEmission")
        links.new(emission.outputs["Emission"], nodes["Material Output"].inputs["Surface"])
        bpy.context.object.data.materials.append(material)
        scene.view_settings.view_transform = "Raw"
        self._write(scene, folder / "mark.png")
        weights = read_rgb(folder / "mark.png").mean(axis=2)
        rows, columns = np.mgrid[:lens.height, :lens.width] + 0.5
        return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()

    def _empty(self, camera: PlaneCamera, lens: PinholeCamera, seed: int) -> Any:
        """Blender's scene with nothing but the camera in it."""
        bpy = self._bpy
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene, data = bpy.context.scene, bpy.data.cameras.new("camera")
        scene.camera = bpy.data.objects.new("camera", data)
        scene.collection.objects.link(scene.camera)
        data.sensor_fit, data.clip_end = "HORIZONTAL", 10 * _GROUND
        for name, value in blender_lens(lens).items():
            setattr(data, name, value)
        scene.camera.matrix_world = blender_pose(camera).T.tolist()  # Blender reads columns
        render = scene.render
        render.engine, render.resolution_percentage, render.threads_mode = "CYCLES", 100, "FIXED"
        render.threads, render.resolution_x, render.resolution_y = self._threads, lens.width, lens.height
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
        scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", self._samples, seed
        render.dither_intensity, scene.view_settings.view_transform = 0.0, "Standard"
        return scene

    def _write(self, scene: Any, path: Path) -> None:
        scene.render.filepath = str(path)
        with _silence():
            self._bpy.ops.render.render(write_still=True)

    def _light(self, look: Look) -> None:
        from mathutils import Vector

        bpy = self._bpy
        world = bpy.data.worlds.new("sky")
        bpy.context.scene.world = world
        background = world.node_tree.nodes["Background"]
        background.inputs["Color"].default_value = (*look.sky_rgb, 1.0)
        background.inputs["Strength"].default_value = look.sky
        for lamp in look.lights:
            data = bpy.data.lights.new("lamp", "AREA")
            data.energy, data.size, data.color = lamp.watts, lamp.side, lamp.rgb
            placed = bpy.data.objects.new("lamp", data)
            placed.location = lamp.position
            placed.rotation_euler = (-Vector(lamp.position)).to_track_quat("-Z", "Y").to_euler()
            bpy.context.scene.collection.objects.link(placed)

    def _ground(self, look: Look) -> None:
        self._bpy.ops.mesh.primitive_plane_add(size=2 * _GROUND)
        material, nodes, links = self._material("ground")
        noise, ramp = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeMapRange")
        noise.inputs["Scale"].default_value = look.grain
        place = nodes.new("ShaderNodeNewGeometry")
        links.new(place.outputs["Position"], noise.inputs["Vector"])
        ramp.inputs["To Min"].default_value, ramp.inputs["To Max"].default_value = (
            1 - look.unevenness, 1 + look.unevenness)
        links.new(noise.outputs["Fac"], ramp.inputs["Value"])
        tinted = nodes.new("ShaderNodeVectorMath")
        tinted.operation = "MULTIPLY"
        tinted.inputs[0].default_value = look.ground_rgb
        links.new(ramp.outputs["Result"], tinted.inputs[1])
        self._surface(nodes, links, tinted.outputs["Vector"], look.ground_roughness)
        self._bpy.context.object.data.materials.append(material)

    def _add(self, mesh: Mesh, roughness: float) -> None:
        """A mesh with its own colours, which are sRGB."""
        bpy = self._bpy
        data = bpy.data.meshes.new("object")
        data.from_pydata(mesh.vertices.tolist(), [], mesh.faces.tolist())
        colors = data.color_attributes.new("colors", "BYTE_COLOR", "POINT")
        rgba = np.column_stack([mesh.colors / 255.0, np.ones(len(mesh.colors))]).astype(np.float32)
        colors.data.foreach_set("color_srgb", rgba.reshape(-1))
        data.shade_smooth()
        data.set_sharp_from_angle(angle=math.radians(_SMOOTH_DEG))
        material, nodes, links = self._material("paint")
        paint = nodes.new("ShaderNodeVertexColor")
        paint.layer_name = "colors"
        self._surface(nodes, links, paint.outputs["Color"], roughness)
        data.materials.append(material)
        bpy.context.scene.collection.objects.link(bpy.data.objects.new("object", data))

    def _material(self, name: str) -> tuple[Any, Any, Any]:
        """An empty material with its nodes and links."""
        material = self._bpy.data.materials.new(name)
        nodes = material.node_tree.nodes
        nodes.clear()
        nodes.new("ShaderNodeOutputMaterial")
        return material, nodes, material.node_tree.links

    @staticmethod
    def _surface(nodes: Any, links: Any, color: Any, roughness: float) -> None:
        surface = nodes.new("ShaderNodeBsdfPrincipled")
        surface.inputs["Roughness"].default_value = roughness
        links.new(color, surface.inputs["Base Color"])
        links.new(surface.outputs["BSDF"], nodes["Material Output"].inputs["Surface"])


@contextmanager
def _silence() -> Iterator[None]:
    """Without what Blender prints about each picture."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def render_folder(studio: Studio, scenes: Iterator[ObjectScene], lens: PinholeCamera, folder: Path, seed: int,
                  info: dict[str, Any]) -> int:
    """Write a folder of the scenes, and return how many had no picture yet.

    `info` stands beside the scenes in the file. Raises ObjectFolderError where the folder holds other scenes.
    """
    there = (folder / "scenes.json").exists()
    records = {record["image_index"]: record for record in read_records(folder)} if there else {}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    made = 0
    for index, scene in enumerate(scenes):
        record = scene_record(scene, lens, index, f"{index:06d}.png")
        path, known = folder / "images" / record["image_filename"], index in records
        if known and records[index] != record:
            raise ObjectFolderError(f"scene {index} of {folder} is another than these options make; name another "
                                    "folder")
        if known and path.exists():
            continue
        look, part = Look.varied(np.random.default_rng([seed, index]), len(scene.scene)), folder / "part.png"
        studio.render(scene, lens, look, index, part)
        os.replace(part, path)
        records[index] = record
        document = {**info, "scenes": [records[i] for i in sorted(records)]}
        write_whole(folder / "scenes.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        made += 1
    return made


def largest_offset_px(studio: Studio, scenes: Iterator[ObjectScene], lens: PinholeCamera) -> float:
    """The largest distance between where Blender shows an object's centre and where the pinhole camera puts it."""
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for made in scenes:
            for point in made.scene.positions_m():
                told = lens.project(made.camera.plane_T_optical().inverse().apply(point))
                worst = max(worst, float(np.abs(studio.mark(point, made.camera, lens, Path(folder)) - told).max()))
    return worst


def drawn_scenes(recipe: Any, split: str, seed: int, count: int) -> Iterator[ObjectScene]:
    """As `kyvo evaluate objects` draws them for a model of the recipe."""
    from tqdm import tqdm

    rng, canonical = np.random.default_rng(seed), recipe.canonical
    for _ in tqdm(range(count), desc="scenes", unit="scene", disable=None):
        yield sample_object_scene(rng, canonical.intrinsics(), canonical.nominal_plane(), recipe.objects, split)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    args = _options(arguments)
    from kyvo_ros.training.recipe import load_recipe

    recipe = load_recipe(args.recipe)
    if recipe.objects is None:
        raise SystemExit(f"{args.recipe} has no objects of the library")
    lens = recipe.canonical.intrinsics()
    lens = lens.resized(*args.size) if args.size else lens
    studio, scenes = Studio(args.samples, args.threads), drawn_scenes(recipe, args.split, args.seed, args.count)
    if args.check:
        print(f"at most {largest_offset_px(studio, scenes, lens):.3f} pixels between Blender and the pinhole camera")
        return 0
    info = {"renderer": "Blender Cycles", "recipe": recipe.name, "split": args.split, "seed": args.seed,
            "samples": args.samples}
    try:
        made = render_folder(studio, scenes, lens, args.out, args.seed, info)
    except ObjectFolderError as error:
        raise SystemExit(str(error)) from None
    print(f"{args.out}: {args.count} scenes, {made} of them new")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write or to go on with")
    parser.add_argument("--count", type=_positive, default=40, metavar="N", help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes and their light (default: %(default)s)")
    parser.add_argument("--split", choices=("instances", "train"), default="instances", help="which objects of the "
                        "library (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, default=REPOSITORY / "recipes" / "objects-nano.yaml", metavar="FILE",
                        help="whose scenes and camera (default: recipes/objects-nano.yaml)")
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the pictures (default: the recipe's)")
    parser.add_argument("--samples", type=_positive, default=32, metavar="N", help="rays a pixel, before denoising "
                        "(default: %(default)s)")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="only compare Blender's camera with ours")
    args = parser.parse_args(arguments)
    if args.out is None and not args.check:
        parser.error("name a folder with --out, or give --check")
    return args


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected something like 192x120, got {text!r}") from None
    return width, height


if __name__ == "__main__":
    sys.exit(main())
