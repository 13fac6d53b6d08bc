"""A pipeline without a model, whose behaviour tests control by a folder and by the images.

A folder's `config.json`: `name`, `load_s` and `latency_s` (time that loading and a frame take), `objects` (list of
{size, color, material, shape, x, y, yaw}), `draws`, `answers` (by "programs", "directly", or "not"), `sees`, `broken`
(the tensor that is missing). A line of its `begun` stands for each image whose computing has begun. In an image the
first pixel steers: (1, 2, 3) raises; red in 1..254 shows that many of the objects; all else shows all of them. It
understands QUESTIONS and INSTRUCTIONS, and runs their programs as the real pipeline does; one that answers directly says
how many objects there are, or the colour of the image's second pixel. It draws a black picture whose first pixel says
how many objects were asked for, and whose second for which camera and scale; with `draws` false it draws nothing and
knows no shapes. Shapes are red tetrahedra, the last object has none.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from kyvo_ros.machine import cores
from kyvo_ros.questions import Answer, EditRules, Executor, Program, apply_edit, direct_answer
from kyvo_ros.scene import (
    CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, RecognizedField, Scene, SceneObject)
from kyvo_ros.scene.mesh import Mesh

OBJECTS = (
    {"size": "large", "color": "red", "material": "rubber", "shape": "cube", "x": -1.0, "y": 0.5, "yaw": 0.5},
    {"size": "small", "color": "blue", "material": "metal", "shape": "sphere", "x": 0.8, "y": -0.7, "yaw": None},
    {"size": "large", "color": "green", "material": "rubber", "shape": "cylinder", "x": 2.0, "y": 1.5, "yaw": None},
)
NOMINAL = PlaneCamera(11.267, 0.4948)
RAISES = (1, 2, 3)
EXTENTS = {"large": (1.4,) * 3, "small": (0.7,) * 3}
JOURNAL = "begun"
UNDERSTANDING = 0.5  # the probability of every program


def _the(attribute: str, value: str) -> Program:
    return Program("unique", (Program(f"filter_{attribute}", (Program("scene"),), (value,)),))


QUESTIONS = {
    "how many things are there": Program("count", (Program("scene"),)),
    "where is the sphere": Program("locate", (_the("shape", "sphere"),)),
    "how large is the sphere": Program("extent", (_the("shape", "sphere"),)),
    "what color is the sphere": Program("query_color", (_the("shape", "sphere"),)),
    "where is the large thing": Program("locate", (_the("size", "large"),)),
    "how far is the cube from the camera": Program("distance", (_the("shape", "cube"), Program("camera"))),
    "what is left of the sphere": Program("relate", (_the("shape", "sphere"),), ("left",)),
}
INSTRUCTIONS = {
    "remove the sphere": Program("remove", (_the("shape", "sphere"),)),
    "move the sphere 0.5 m behind": Program("move_by", (_the("shape", "sphere"),), ("behind", 0.5)),
    "add a small red metal cube 2 m right of the sphere": Program(
        "insert_at", (_the("shape", "sphere"),), ("small", "red", "metal", "cube", "right", 2.0)),
    "add a small red metal cube right next to the sphere": Program(
        "insert_next", (_the("shape", "sphere"),), ("small", "red", "metal", "cube", "right")),
    "remove the large thing": Program("remove", (_the("size", "large"),)),
    "make the sphere blue": Program("change_color", (_the("shape", "sphere"),), ("blue",)),
}


class SentenceError(ValueError):
    """As `kyvo_ros.model.programs` has it, which imports torch."""


class UntrainedTaskError(ValueError):
    """As `kyvo_ros.model.tasks` has it, likewise."""


class NoImageError(ValueError):
    """Likewise."""


class FakePipeline:
    """Stands in for KyvoPipeline in the node."""

    def __init__(self, name: str = "fake", latency_s: float = 0.0, objects: tuple = OBJECTS,
                 draws: bool = True, answers: str = "programs", sees: bool = True,
                 journal: Path | None = None) -> None:
        self.name, self.device, self.images_at_once = name, "cpu", min(2, cores())
        self.schema = SimpleNamespace(metres_per_unit=1.0)
        self._latency_s = latency_s
        self._objects = objects
        self._draws, self._answers, self._sees = draws, answers, sees
        self._journal = journal
        self.seen: list[tuple[CameraView, str]] = []
        self.effort = ""  # of the last call
        self.batches: list[int] = []  # sizes

    def view_of(self, image: np.ndarray, camera: PinholeCamera | None) -> CameraView:
        height, width = image.shape[:2]
        return CameraView(camera or PinholeCamera(width, height, 1.1 * width, 1.1 * width, width / 2, height / 2))

    def nominal_plane(self) -> PlaneCamera:
        return NOMINAL

    def field(self, plane: PlaneCamera | None = None, metres_per_unit: float | None = None) -> RecognizedField:
        return RecognizedField(PinholeCamera(128, 80, 140.0, 140.0, 64.0, 38.0), 5.0)

    def recognize(self, image: np.ndarray, camera: CameraView | None = None, scale: str = "units",
                  effort: str = "fast") -> Scene:
        self.seen = [*self.seen[-9:], (camera, scale)]
        self.effort = effort
        if not self._sees:
            raise UntrainedTaskError("this model was not trained for task I->3")
        if self._journal is not None:
            with open(self._journal, "a") as journal:
                journal.write("begun\n")
        time.sleep(self._latency_s)
        first = tuple(int(v) for v in image[0, 0])
        if first == RAISES:
            raise RuntimeError("this frame breaks the model")
        if scale == "distance" and camera.plane is None:
            raise PlaneNotVisibleError("scale 'distance' needs the camera's distance")
        unit_m = camera.plane.distance_m / NOMINAL.distance_m if scale == "distance" else 1.0
        shown = first[0] if 0 < first[0] < 255 else len(self._objects)
        return Scene([_object(item, unit_m) for item in self._objects[:shown]])

    def recognize_batch(self, images, cameras, scale: str = "units", effort: str = "fast") -> list[Scene]:
        self.batches.append(len(images))
        return [self.recognize(image, camera, scale, effort) for image, camera in zip(images, cameras)]

    def reconstruct(self, image: np.ndarray, camera: CameraView | None = None, scale: str = "units",
                    effort: str | None = None) -> Scene:
        if not self._draws:
            raise ValueError("this model was not trained for task I->S")
        scene = self.recognize(image, camera, scale)
        return replace(scene, objects=(*(replace(o, mesh=_tetrahedron(o)) for o in scene.objects[:-1]),
                                       *scene.objects[-1:]))

    def check_asked(self, image: bool, scene: bool) -> None:
        if self._answers == "not":
            raise UntrainedTaskError("this model answers no questions")
        if self._answers == "directly" and not image:
            raise NoImageError("this model answers from an image; ask about an image")
        if self._answers == "directly" and not scene and not self._sees:
            raise UntrainedTaskError("this model was not trained to recognise (I->3)")

    def answer(self, question: str, scene: Scene, camera_position_m=None, metres_per_unit: float = 1.0,
               image: np.ndarray | None = None, camera: CameraView | None = None) -> Answer:
        self.check_asked(image is not None, True)
        if self._answers == "directly":
            colour = ("red", "green", "blue")[int(image[0, 1].argmax())]
            return direct_answer(str(len(scene)) if "many" in _readable(question) else colour, UNDERSTANDING)
        program = QUESTIONS.get(_readable(question), Program("unknown"))
        answer = Executor(scene, camera_position_m, 0.2 * metres_per_unit).run(program)
        return replace(answer, confidence=answer.confidence * UNDERSTANDING)

    def edit(self, instruction: str, scene: Scene, metres_per_unit: float = 1.0) -> Scene:
        program = INSTRUCTIONS.get(_readable(instruction))
        if program is None:
            raise SentenceError(f"the instruction is not understood: {instruction!r}")
        rules = EditRules(lambda attributes: [metres_per_unit * e for e in EXTENTS[attributes["size"]]],
                          min_gap_m=0.25 * metres_per_unit)
        return apply_edit(program, scene, rules)

    def render(self, scene: Scene, camera: PlaneCamera | None = None, metres_per_unit: float = 1.0) -> np.ndarray:
        if not self._draws:
            raise ValueError("this model was not trained for task 3->I")
        picture = np.zeros((10, 16, 3), np.uint8)
        camera = camera or NOMINAL
        picture[0, 0] = len(scene)
        picture[0, 1] = (round(camera.distance_m), round(100 * camera.elevation_rad), round(100 * metres_per_unit))
        return picture


def _readable(sentence: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in sentence).split()).rstrip("?.")
    if not words:
        raise SentenceError("the sentence is empty")
    if len(words) > 200:
        raise SentenceError(f"the sentence takes {len(words)} letters, more than 200; say it shorter")
    return words


def _object(item: dict, unit_m: float) -> SceneObject:
    side = EXTENTS[item["size"]][0] * unit_m
    words = {name: item[name] for name in ("size", "color", "material", "shape")}
    return SceneObject(
        words, [item["x"] * unit_m, item["y"] * unit_m, side / 2], yaw_rad=item["yaw"], size_m=[side] * 3,
        confidence=item.get("confidence", 0.9), attribute_confidence={"shape": 0.8},
        position_covariance_m2=np.diag([0.01, 0.04, 0.0]) * unit_m ** 2)


def _tetrahedron(item: SceneObject) -> Mesh:
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * item.size_m / 2
    return Mesh(corners, [[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.tile([255, 0, 0], (4, 1)))


def fake_factory(settings) -> FakePipeline:
    """Makes the pipeline of a folder; no folder means the plain one."""
    if not settings.model:
        return FakePipeline()
    config = json.loads((Path(settings.model) / "config.json").read_text())
    time.sleep(config.get("load_s", 0.0))
    if "broken" in config:
        raise ValueError(f"{settings.model}/decoder.safetensors lacks tensor '{config['broken']}'; copy it again")
    return FakePipeline(config["name"], config.get("latency_s", 0.0), tuple(config.get("objects", OBJECTS)),
                        config.get("draws", True), config.get("answers", "programs"), config.get("sees", True),
                        Path(settings.model) / JOURNAL)


def write_model(folder: Path, name: str, **config) -> str:
    """A folder for `fake_factory`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"name": name, **config}))
    return str(folder)


def begun(folder: Path) -> int:
    """How many images a model of this folder has begun to compute."""
    journal = folder / JOURNAL
    return len(journal.read_text().splitlines()) if journal.exists() else 0


if __name__ == "__main__":
    import sys

    from kyvo_ros.ros.node import main
    sys.exit(main(factory=fake_factory))
