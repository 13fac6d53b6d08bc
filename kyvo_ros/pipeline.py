"""The path of a frame: image -> canonical image -> codes -> prompt -> tokens -> scene; of a sentence about a scene:
text -> prompt -> tokens -> program -> answer or edited scene, or with the image's codes in the prompt -> a word; of a
scene to draw: prompt -> tokens -> codes -> image; of an image to whole objects: as a frame, but tokens with shape
codes, and those -> meshes.

`KyvoPipeline` holds a loaded model and does no input or output; the node, the command line and the evaluation all
run it. Scenes come in the support-plane frame (`kyvo_ros.scene.camera`), in metres.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kyvo_ros.autoencoders.canonical import CanonicalCamera, CanonicalError, to_canonical
from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.image_tokenizer import images_to_tensor, tensor_to_images
from kyvo_ros.autoencoders.looks import EFFORTS, Look, sights
from kyvo_ros.machine import cores
from kyvo_ros.model.devices import DeviceError, choose_device, with_own_threads
from kyvo_ros.model.direct_answers import DirectAnswerer
from kyvo_ros.model.folder import ModelBundle, ModelFolderError, load_model
from kyvo_ros.model.generation import generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.precision import is_large
from kyvo_ros.model.programs import ProgramWriter
from kyvo_ros.model.published_sight import from_plane_frame, in_plane_frame
from kyvo_ros.model.rendering import TASK as DRAWING_TASK
from kyvo_ros.model.rendering import ImageWriter
from kyvo_ros.model.shapes import TASK as SHAPES_TASK
from kyvo_ros.model.shapes import ShapeWriter, default_effort
from kyvo_ros.model.tasks import PROGRAM_TASK, RECOGNITION_TASK, answering_task, check_trained
from kyvo_ros.questions import MIN_GAP_UNITS, Answer, EditRules, Executor, Program, apply_edit, direct_answer
from kyvo_ros.scene import (
    RELATION_EPSILON_UNITS, CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, RecognizedField, Scene)
from kyvo_ros.scene.consensus import consensus

#: What ships with the package: the model, one that sees shapes, and a shape tokenizer alone.
SHIPPED_MODEL, SHIPPED_OBJECTS, SHIPPED_SHAPES = (
    Path("models") / name for name in ("clevr-nano", "objects-nano", "shapes-nano"))
#: Drawing a scene whose objects have shapes.
DRAWN_SHAPES_TASK = "S->I"
#: How the model's units become metres; see `KyvoPipeline.recognize`.
SCALES = ("units", "distance")


class KyvoPipeline:
    """A model ready to recognise scenes, answer questions about them, edit them and draw them.

    `calibration` is the model's, which scenes come through; another one may be put in its place.
    `images_at_once` is how many images are best computed at the same time, each by a call in a thread of its own: a
    small model keeps a core busy and does little with two, while one image keeps a GPU busy, or all cores with a large
    model.
    `last_timings_s` holds the seconds of the last call by stage: `warp`, `encode`, `generate`, `decode`, and `mesh`.
    """

    def __init__(self, bundle: ModelBundle, device: str = "auto", threads: int | None = None) -> None:
        """`device` is auto, cpu, cuda or cuda:N; `threads` are torch's CPU threads, in whatever thread a method is
        called; None: as many as there are now. Raises DeviceError.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be positive or None, got {threads}")
        self.threads = torch.get_num_threads() if threads is None else threads
        torch.set_num_threads(self.threads)
        self.device = choose_device(device)
        self.name = bundle.name
        self.schema = bundle.schema
        self.canonical = bundle.canonical
        self.calibration = bundle.calibration
        self.last_timings_s: dict[str, float] = {}
        self._grammar = bundle.grammar.layout
        self._builder = bundle.builder
        self._image_tokenizer = folded(bundle.image_tokenizer).to(self.device)
        decoder = bundle.decoder.to(self.device)
        large = is_large(decoder)
        self.images_at_once = 1 if large or self.device.type != "cpu" else min(2, cores())
        self._decoder = CachedDecoder(decoder, shared=large)
        self._programs = ProgramWriter(self._decoder, bundle.builder, bundle.programs, bundle.tasks)
        self._images = ImageWriter(self._decoder, bundle.builder, bundle.tasks)
        self._answers = DirectAnswerer(self._decoder, bundle.builder, bundle.schema, bundle.tasks)
        self._shapes = ShapeWriter(self._decoder, bundle.builder, bundle.grammar, bundle.tasks,
                                   bundle.shape_tokenizer and bundle.shape_tokenizer.to(self.device))
        self._whole_scenes, self._tasks = bundle.grammar, bundle.tasks

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, device: str = "auto",
                        threads: int | None = None, dtype: str = "auto", also: Collection[str] = ()) -> KyvoPipeline:
        """Load a model folder; None means the model shipped with the package.

        `also` are tasks that the folder does not list, to see how little the model can of them. `dtype` is the decoder's:
        auto, float32, bfloat16 or float16; see `model.precision` for what auto takes.

        Raises ModelFolderError where the folder is missing or broken, DeviceError, DtypeError.
        """
        folder = shipped_model() if path is None else Path(path)
        bundle = load_model(folder, device=str(choose_device(device)), dtype=dtype)
        return cls(replace(bundle, tasks=(*bundle.tasks, *also)), device, threads)

    def recognize(self, image: np.ndarray, camera: CameraView | PinholeCamera | None = None,
                  scale: str = "units", effort: str = "fast") -> Scene:
        """The scene that an image (H, W, 3) uint8 RGB shows, in PLANE_FRAME, metres.

        Args:
            camera: the image's camera; its plane, where known, also tells the model where it stands. A PinholeCamera
                is taken to stand like the model's nominal camera, and so is None, which also stands for its lens
                (`CanonicalCamera.assumed_camera`).
            scale: "units" takes a model unit as the schema's `metres_per_unit`; "distance" as many metres as make the
                camera's true distance to the plane the nominal one, for scenes of another size such as table-tops.
            effort: "fast" looks once; "accurate" five and "thorough" 24 times, each look shifted against the cells
                of the tokens, and gives what the looks agree on (`autoencoders.looks`, `scene.consensus`).

        Raises CanonicalError where image and camera do not fit, DistortionError, PlaneNotVisibleError where `scale`
        is "distance" and the plane is not known, UntrainedTaskError for a model that only draws.
        """
        return self.recognize_batch([image], [camera], scale, effort)[0]

    @with_own_threads
    def recognize_batch(self, images: Sequence[np.ndarray],
                        cameras: Sequence[CameraView | PinholeCamera | None] | None = None,
                        scale: str = "units", effort: str | Sequence[Look] = "fast") -> list[Scene]:
        """As `recognize`, for several images at once; they may come from different cameras. `effort` may also be the
        looks themselves.
        """
        if not len(images):
            return []
        check_trained(RECOGNITION_TASK, self._tasks)
        wanted = _looks_of(effort) if isinstance(effort, str) else effort
        if cameras is None:
            cameras = [None] * len(images)
        if len(cameras) != len(images):
            raise ValueError(f"expected a camera for each of {len(images)} images, got {len(cameras)}")
        timings: dict[str, float] = {}
        seen = self._see(images, cameras, scale, wanted, timings)
        self.last_timings_s = timings
        return [one.scene for one in seen]

    def _see(self, images: Sequence[np.ndarray], cameras: Sequence[CameraView | PinholeCamera | None], scale: str,
             wanted: Sequence[Look], timings: dict[str, float]) -> list[_Seen]:
        """What the looks at each image agree on; adds to the timings."""
        with _timed(timings, "warp"):
            views = [self.view_of(image, camera) for image, camera in zip(images, cameras)]
            metres = [self.metres_per_unit(view.plane, scale) for view in views]
            sights = [self.sights(view, wanted, m) for view, m in zip(views, metres)]
            looks = [(look, m) for group, m in zip(sights, metres) for look in group]
            cells = [self._cells(look.lens, look.plane, m) for look, m in looks]
            canonical = np.stack([look.picture(image) for image, group in zip(images, sights) for look in group])
        with _timed(timings, "encode"):
            codes = self._encode(canonical)
        with _timed(timings, "generate"):
            generations = self._generate(codes, np.stack(cells))
        with _timed(timings, "decode"):
            scenes = [self._in_metres(self._grammar.decode_scene(g.token_ids, g.distributions), look, m)
                      for g, (look, m) in zip(generations, looks)]
            starts = np.cumsum([0, *map(len, sights)])
            return [_Seen(self.consensus(scenes[start:start + len(group)], group, m), view, m, codes[start], cells[start])
                    for start, group, view, m in zip(starts, sights, views, metres)]

    @with_own_threads
    def reconstruct(self, image: np.ndarray, camera: CameraView | PinholeCamera | None = None, scale: str = "units",
                    order: str = "parallel", effort: str | None = None) -> Scene:
        """The scene that an image shows, its objects with their shapes: codes, and the meshes that these say.

        Args:
            image, camera, scale: as for `recognize`.
            order: "parallel" writes the codes of all objects at once, "sequence" one after the other, so that later
                ones see those before (`model.shapes`).
            effort: as for `recognize`, how often to look for what stands where; shapes are written once. None:
                `model.shapes.default_effort`.

        Objects whose codes enclose nothing have no mesh. Raises UntrainedTaskError for a model without shapes, ValueError
        for several looks in order "sequence", and as `recognize` does.
        """
        check_trained(SHAPES_TASK, self._tasks)
        looks = _looks_of(effort or default_effort(order))
        timings: dict[str, float] = {}
        if len(looks) == 1:
            scene = self._reconstructed(image, camera, scale, order, timings)
        elif order == "sequence":
            raise ValueError("order 'sequence' writes layout and shapes together, of one look; give effort 'fast', or "
                             "order 'parallel'")
        else:
            looks = looks if looks[0] == Look() else (Look(), *looks)
            (seen,) = self._see([image], [camera], scale, looks, timings)
            with _timed(timings, "generate"):
                scene = self._with_shapes(seen)
        with _timed(timings, "mesh"):
            scene = self._shapes.with_meshes(scene)
        self.last_timings_s = timings
        return scene

    def _reconstructed(self, image: np.ndarray, camera: CameraView | PinholeCamera | None, scale: str, order: str,
                       timings: dict[str, float]) -> Scene:
        """As `reconstruct` in one look, without meshes; adds to the timings."""
        with _timed(timings, "warp"):
            view = self.view_of(image, camera)
            metres = self.metres_per_unit(view.plane, scale)
            (look,) = self.sights(view, EFFORTS["fast"], metres)
            canonical = look.picture(image)
        with _timed(timings, "encode"):
            codes = self._encode(canonical[None])[0]
        with _timed(timings, "generate"):
            written = self._shapes.write(codes, self._cells(look.lens, look.plane, metres), order)
        with _timed(timings, "decode"):
            return self._in_metres(self._whole_scenes.decode_scene(written.token_ids, written.distributions), look, metres)

    def _with_shapes(self, seen: _Seen) -> Scene:
        """A scene with the codes of its objects' shapes, written behind what the looks at it agree on; where these are
        more objects than the language has room for, of the surest.
        """
        surest = sorted(seen.scene.objects, key=lambda item: -item.confidence)[:self.schema.max_objects]
        said = self._as_said(replace(seen.scene, objects=tuple(surest)), seen.view.plane, seen.metres_per_unit)
        codes = self._shapes.shapes_of(seen.codes, seen.cells, self._grammar.encode_scene(said, "clamp"))
        own = {id(item): row for item, row in zip(self.schema.sorted_objects(said), codes)}
        coded = {id(item): own[id(other)] for item, other in zip(surest, said.objects)}
        return replace(seen.scene, objects=tuple(
            replace(item, shape_codes=coded.get(id(item))) for item in seen.scene.objects))

    def check_asked(self, image: bool, scene: bool) -> None:
        """Whether `answer` can answer where there is an `image`, and a `scene` or one to be recognised; asked before
        that is done. Raises UntrainedTaskError, NoImageError.
        """
        answering_task(self._tasks, image, scene)

    @with_own_threads
    def answer(self, question: str, scene: Scene, camera_position_m: Sequence[float] | None = None,
               metres_per_unit: float | None = None, image: np.ndarray | None = None,
               camera: CameraView | PinholeCamera | None = None) -> Answer:
        """The answer to a question about a scene, or a refusal that says why there is none.

        A model that writes programs (task Q->P) writes the one that the question means, and it runs on the scene. The
        answer's confidence is the program's times that of the objects it rests on. Any other answers directly, as
        `answer_directly` does: the answer has no program, and the word's probability is its confidence.

        Args:
            scene: in PLANE_FRAME, as `recognize` gives it.
            camera_position_m: (3,) of the camera in the scene's frame; None: questions about it are refused.
            metres_per_unit: how many metres a model unit is in this scene, where `recognize` scaled it by distance;
                None: the schema's. What counts as left of something follows it.
            image, camera: what shows the scene, as for `recognize`; only a model that answers directly looks at it.

        Raises SentenceError for an empty or overlong question, UntrainedTaskError for a model without questions,
        SceneError for a scene in another frame; NoImageError, and as `answer_directly` does, on that route.
        """
        if answering_task(self._tasks, image is not None, True) != PROGRAM_TASK:
            return direct_answer(*self.answer_directly(question, image, camera, scene, metres_per_unit))
        program, probability = self._programs.write(PROGRAM_TASK, question)
        unit_m = metres_per_unit or self.schema.metres_per_unit
        answer = Executor(scene, camera_position_m, RELATION_EPSILON_UNITS * unit_m).run(program)
        return replace(answer, confidence=answer.confidence * probability)

    @with_own_threads
    def answer_directly(self, question: str, image: np.ndarray, camera: CameraView | PinholeCamera | None = None,
                        scene: Scene | None = None, metres_per_unit: float | None = None) -> tuple[str, float]:
        """The word with which the model answers a question about an image, without a program, and its probability.

        The image and its scene stand before the question in the order that the model was trained for.

        Args:
            image, camera: as for `recognize`.
            scene: that of the image, in PLANE_FRAME, as `recognize` gives it; None: what the model recognises.
            metres_per_unit: as for `answer`.

        Errors as of `recognize`; SentenceError and UntrainedTaskError as of `answer`; GrammarError and OutOfRangeError
        for a scene that the model's language cannot say.
        """
        if scene is None:
            check_trained(RECOGNITION_TASK, self._tasks)
        unit_m = metres_per_unit or self.schema.metres_per_unit
        view = self.view_of(image, camera)
        lens = self.lens(view.plane, unit_m)
        codes = self._encode(to_canonical(image, view, lens)[None])
        cells = self._cells(lens, view.plane, unit_m)
        if scene is None:
            (generation,) = self._generate(codes, cells[None])
            said = self._grammar.decode_scene(generation.token_ids)
        else:
            said = self._as_said(scene, view.plane, unit_m)
        return self._answers.answer(question, said, codes[0], cells)

    def edit(self, instruction: str, scene: Scene, metres_per_unit: float | None = None) -> Scene:
        """The scene as an instruction changes it; objects keep their order and ids, a new one comes last.

        `metres_per_unit` as for `answer`; the size of what is new and the room that it needs follow it.

        Raises SentenceError as `answer` does, PremiseError where what the instruction speaks of is not there or not
        possible, with the reason.
        """
        return self.edited(self.edit_program(instruction), scene, metres_per_unit)

    @with_own_threads
    def edit_program(self, instruction: str) -> Program:
        """What the model takes an instruction for; `edited` does it. Raises SentenceError and UntrainedTaskError."""
        return self._programs.write("T->E", instruction)[0]

    def edited(self, program: Program, scene: Scene, metres_per_unit: float | None = None) -> Scene:
        """The second half of `edit`. Raises PremiseError."""
        return apply_edit(program, scene, self._edit_rules(metres_per_unit or self.schema.metres_per_unit))

    def render(self, scene: Scene, camera: PlaneCamera | None = None, metres_per_unit: float | None = None,
               **sampling: float | int | None) -> np.ndarray:
        """A picture (h, w, 3) uint8 RGB of a scene, as the model imagines it through its canonical camera.

        Where it was trained to, and every object has codes of its shape or a mesh, it draws those shapes.

        Args:
            scene: in PLANE_FRAME, as `recognize` gives it.
            camera: where the canonical camera stands over the plane, metres; None: the nominal pose. Models with scenes
                in a world of their own (`model.published_sight`) draw from where their training's camera stood.
            metres_per_unit: as for `answer`.
            sampling: `temperature`, `top_k`, `seed` as in `model.generation.generate`; by default the likeliest codes.

        Raises UntrainedTaskError for a model that does not draw, GrammarError or OutOfRangeError for a scene that its
        language cannot say: too many objects, off the plane, too far away, a cube without a yaw.
        """
        return self.render_batch([scene], [camera], metres_per_unit, **sampling)[0]

    @with_own_threads
    def render_batch(self, scenes: Sequence[Scene], cameras: Sequence[PlaneCamera | None],
                     metres_per_unit: float | None = None, temperature: float = 0.0, top_k: int | None = None,
                     seed: int | None = None) -> np.ndarray:
        """As `render`, for several scenes at once: (B, h, w, 3)."""
        unit_m = metres_per_unit or self.schema.metres_per_unit
        cells = np.stack([self._cells(self.lens(camera, unit_m), camera, unit_m) for camera in cameras])
        scaled = [self._as_said(scene, camera, unit_m) for scene, camera in zip(scenes, cameras)]
        shaped = DRAWN_SHAPES_TASK in self._tasks and all(
            item.shape_codes is not None or item.mesh is not None for scene in scaled for item in scene.objects)
        if shaped:
            scaled = [self._shapes.with_codes(scene) for scene in scaled]
        return self._pixels(self._images.write(scaled, cells, temperature, top_k, seed,
                                               DRAWN_SHAPES_TASK if shaped else DRAWING_TASK))

    @with_own_threads
    def through_codes(self, image: np.ndarray, camera: CameraView | PinholeCamera | None = None) -> np.ndarray:
        """What the codes of an image hold: (h, w, 3) uint8 RGB through the canonical camera; arguments and errors as
        for `recognize`.
        """
        view = self.view_of(image, camera)
        canonical = to_canonical(image, view, self.lens(view.plane))
        return self._pixels(self._encode(canonical[None]))[0]

    def _encode(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, 3) uint8 RGB of the canonical camera -> (B, h, w) int64 codes."""
        return self._image_tokenizer.encode(images_to_tensor(images).to(self.device)).cpu().numpy()

    def _pixels(self, codes: np.ndarray) -> np.ndarray:
        """(B, h, w) codes -> (B, H, W, 3) uint8 RGB."""
        return tensor_to_images(self._image_tokenizer.decode(torch.from_numpy(codes).to(self.device)))

    def _edit_rules(self, unit_m: float) -> EditRules:
        scale = unit_m / self.schema.metres_per_unit
        return EditRules(lambda attributes: scale * self.schema.extents_m(attributes), min_gap_m=MIN_GAP_UNITS * unit_m,
                         max_objects=self.schema.max_objects, relation_epsilon_m=RELATION_EPSILON_UNITS * unit_m)

    def view_of(self, image: np.ndarray, camera: CameraView | PinholeCamera | None) -> CameraView:
        """The camera that `recognize` takes an image to come from; its plane stays None where nobody knows it.

        Raises CanonicalError where the image is none, or its camera cannot be guessed from its size.
        """
        if isinstance(camera, CameraView):
            return camera
        if camera is not None:
            return CameraView(camera)
        if image.ndim != 3:
            raise CanonicalError(f"expected an RGB image (H, W, 3) of uint8, got {image.shape} of {image.dtype}")
        return CameraView(self.canonical.assumed_camera(image.shape[1], image.shape[0]))

    def lens(self, plane: PlaneCamera | None, metres_per_unit: float | None = None) -> CanonicalCamera:
        """The canonical camera with the lens through which one that stands there is seen (`CanonicalCamera.zoom`);
        `plane` in metres, None where nobody knows; `metres_per_unit` as for `answer`.
        """
        return self.canonical.seen_from(plane and plane.scaled(1.0 / (metres_per_unit or self.schema.metres_per_unit)))

    def _cells(self, lens: CanonicalCamera, plane: PlaneCamera | None, metres_per_unit: float) -> np.ndarray:
        """(h*w, 2) ground points, in units, of what a lens shows from a camera in metres."""
        return lens.cells(plane and plane.scaled(1.0 / metres_per_unit), self._builder.image_grid)

    def nominal_plane(self) -> PlaneCamera:
        """Where a camera without a known plane is taken to stand, metres."""
        return self.canonical.nominal_plane().scaled(self.schema.metres_per_unit)

    def field(self, plane: PlaneCamera | None, metres_per_unit: float | None = None) -> RecognizedField:
        """What `recognize` can tell of an image from a camera that stands there: its window, how far from the axis on
        the plane, how many objects; arguments as for `lens`.
        """
        location, numbers = self.schema.location, self._grammar.vocabulary.numbers.values()
        reach = math.inf if location.depth else float(min(-numbers[0], numbers[-1]))
        return RecognizedField(self.lens(plane, metres_per_unit).intrinsics(), reach, self.schema.max_objects,
                               self.schema.yaw_periods())

    def metres_per_unit(self, plane: PlaneCamera | None, scale: str) -> float:
        """How many metres a model unit is for a camera at `plane` under `scale`, as `recognize` takes it.

        Raises ValueError for another scale, PlaneNotVisibleError where "distance" has no plane.
        """
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {scale!r}")
        if scale == "units":
            return self.schema.metres_per_unit
        if plane is None:
            raise PlaneNotVisibleError("scale 'distance' needs the camera's distance to the support plane; give it")
        return plane.distance_m / self.canonical.nominal_distance

    def _in_metres(self, scene: Scene, look: Sight, metres_per_unit: float) -> Scene:
        """What the model says of a look, in PLANE_FRAME of the image that it belongs to."""
        scaled = self.calibration.apply(scene).scaled(metres_per_unit / self.schema.metres_per_unit)
        return look.brought_back(in_plane_frame(scaled, look.stands))

    def _as_said(self, scene: Scene, camera: PlaneCamera | None, metres_per_unit: float) -> Scene:
        """A scene in PLANE_FRAME of a camera there, metres, as the schema has it; inverse of `_in_metres`."""
        factor = self.schema.metres_per_unit / metres_per_unit
        plane = self.nominal_plane() if camera is None else camera.scaled(factor)
        return from_plane_frame(scene.scaled(factor), self.schema.frame_id, plane)

    def sights(self, view: CameraView, looks: Sequence[Look], metres_per_unit: float | None = None) -> list[Sight]:
        """The looks at images of a view; those that cannot be are left out (`autoencoders.looks.sights`)."""
        return sights(view, self.lens(view.plane, metres_per_unit), self._builder.image_grid, self.nominal_plane(), looks)

    def consensus(self, scenes: Sequence[Scene], looks: Sequence[Sight], metres_per_unit: float | None = None) -> Scene:
        """What the scenes of several looks at one image agree on."""
        yaw = self.schema.yaw
        return consensus(scenes, [look.shows for look in looks], yaw_period_rad=yaw and yaw.period_rad,
                         unit_m=metres_per_unit or self.schema.metres_per_unit)

    @torch.inference_mode()
    def _generate(self, codes: np.ndarray, cells: np.ndarray) -> list:
        prompts = [self._builder.prompt(RECOGNITION_TASK, image_codes=c) for c in codes]
        return generate(self._decoder, torch.from_numpy(np.stack([p.token_ids for p in prompts])).to(self.device),
                        cells=torch.from_numpy(cells).to(self.device),
                        prefix_length=prompts[0].prefix_length, grammar=self._grammar)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What several looks at an image agree on."""

    scene: Scene  # in PLANE_FRAME
    view: CameraView
    metres_per_unit: float
    codes: np.ndarray  # (h, w) of the first look
    cells: np.ndarray  # (h*w, 2) its ground points


def _looks_of(effort: str) -> tuple[Look, ...]:
    """Raises ValueError for an unknown effort."""
    if effort not in EFFORTS:
        raise ValueError(f"effort must be one of {tuple(EFFORTS)}, got {effort!r}")
    return EFFORTS[effort]


def shipped_model(folder: Path = SHIPPED_MODEL) -> Path:
    """Where a folder that ships with the package is, in a source checkout or where the package is installed.

    Raises ModelFolderError with the places where it was looked for.
    """
    here = Path(__file__).resolve()
    installed = Path("share") / "kyvo_ros" / folder
    overlays = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    places = [here.parents[1] / folder, *(prefix / installed for prefix in (*here.parents, *overlays))]
    for place in places:
        if place.is_dir():
            return place
    looked = ", ".join(map(str, dict.fromkeys(places)))
    raise ModelFolderError(f"the shipped model {folder.name} is at none of {looked}; reinstall the package, train one with "
                           "`kyvo train`, or give the path of a model folder")


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start
