"""Questions to a model that answers directly, without DDS: on which image, scene and camera, recognised how often, and
what is refused.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import OBJECTS, UNDERSTANDING, FakePipeline, NoImageError, UntrainedTaskError

pytest.importorskip("kyvo_msgs", reason="needs ROS 2")

from kyvo_ros.questions import Answer  # noqa: E402
from kyvo_ros.ros.camera import Seen  # noqa: E402
from kyvo_ros.ros.camera_infos import CameraInfoCache  # noqa: E402
from kyvo_ros.ros.cameras import Cameras  # noqa: E402
from kyvo_ros.ros.frames import Frame  # noqa: E402
from kyvo_ros.ros.language import ANSWER, RECOGNIZE, Language  # noqa: E402
from kyvo_ros.ros.recognition import Recognizer  # noqa: E402
from kyvo_ros.ros.settings import Settings  # noqa: E402
from kyvo_ros.ros.status import Status  # noqa: E402
from kyvo_ros.ros.transforms import TransformBuffer  # noqa: E402
from kyvo_ros.scene import CameraView  # noqa: E402

COUNT, COLOUR = "how many things are there?", "what color is it?"
SETTINGS = {"front": Settings(plane_distance_m=1.2, scale="distance"), "rear": Settings()}


class AskedOn(FakePipeline):
    """Remembers what it was asked about."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"answers": "directly", **options})
        self.recognised, self.asked = 0, ()

    def recognize(self, *arguments: Any, **options: Any) -> Any:
        self.recognised += 1
        return super().recognize(*arguments, **options)

    def answer(self, question: str, scene: Any, *rest: Any) -> Answer:
        self.asked = (scene, *rest)
        return super().answer(question, scene, *rest)


def _pixels(second: tuple[int, int, int]) -> np.ndarray:
    pixels = np.full((240, 320, 3), 255, np.uint8)
    pixels[0, 1] = second
    return pixels


class Bench:
    """Two cameras, `front` over a table with a lens that bends, `rear` of the nominal kind; both have seen a scene."""

    def __init__(self, pipeline: FakePipeline) -> None:
        self.pipeline = pipeline
        self.cameras = Cameras(self._camera, lambda job: job())
        self.cameras.follow(SimpleNamespace(cameras=SETTINGS))
        self.language = Language(self.cameras, lambda: pipeline, Settings, SimpleNamespace())

    def _camera(self, name: str, settings: Settings) -> SimpleNamespace:
        infos = CameraInfoCache()
        infos.store(messages.camera_info(header=messages.header(name), d=[0.1 if name == "front" else 0.0, 0, 0, 0, 0]))
        recognizer = Recognizer(infos, TransformBuffer(), Status())
        return SimpleNamespace(name=name, settings=settings, recognizer=recognizer, newest=None, latest=None)

    def see(self, name: str, second: tuple[int, int, int]) -> None:
        """An image arrives, and its scene is published."""
        (camera,) = self.cameras.named(name)
        camera.newest = Frame(messages.image(_pixels(second), header=messages.header(name)), 0.0)
        camera.latest = Seen(camera.newest, camera.recognizer.recognize(camera.newest, self.pipeline, camera.settings))
        self.pipeline.recognised = 0

    def ask(self, question: str, image: Any = None, **fields: Any) -> tuple[Answer, list[str]]:
        """The answer, and the stages on the way."""
        none = SimpleNamespace(data=b"", header=messages.header(""))
        request = {"question": question, "max_age_s": 0.0, "fresh": False, "camera": "", "on_scene_graph": False,
                   "image": none if image is None else image, "camera_info": SimpleNamespace(width=0), **fields}
        stages: list[str] = []
        answer, self.subject = self.language.answer(SimpleNamespace(**request), stages.append)
        return answer, stages


@pytest.fixture
def bench() -> Bench:
    made = Bench(AskedOn())
    made.see("rear", (0, 0, 9))
    made.see("front", (9, 0, 0))
    return made


def test_the_latest_scene_is_asked_about_with_its_image_and_recognised_no_more(bench: Bench) -> None:
    answer, stages = bench.ask(COLOUR, camera="front")
    assert (answer.text, answer.confidence, answer.program, answer.ids) == ("red", UNDERSTANDING, None, ())
    assert bench.pipeline.recognised == 0 and stages == [ANSWER]
    scene, _, unit_m, image, view = bench.pipeline.asked
    (camera,) = bench.cameras.named("front")
    seen = camera.latest.result
    assert scene is seen.scene and image is seen.image_rgb and view is seen.view and unit_m == seen.unit_m != 1.0
    assert view.plane.distance_m == 1.2 and view.intrinsics.distortion[0] == 0.1
    assert bench.ask(COLOUR, camera="rear")[0].text == "blue", "each camera has its own image"
    assert bench.pipeline.asked[4].intrinsics.distortion == ()
    assert bench.ask(COUNT)[0].value == len(OBJECTS)


def test_the_newest_image_and_one_that_is_given_are_recognised_once(bench: Bench) -> None:
    answer, stages = bench.ask(COLOUR, fresh=True, camera="rear")
    assert answer.text == "blue" and bench.pipeline.recognised == 1 and stages == [RECOGNIZE, ANSWER]
    image = messages.image(_pixels((0, 9, 0)), header=messages.header("rear"))
    own = messages.camera_info(header=messages.header("rear"), k=[300.0, 0, 159.5, 0, 300.0, 119.5, 0, 0, 1])
    assert bench.ask(COLOUR, image, camera_info=own)[0].text == "green" and bench.pipeline.recognised == 2
    view: CameraView = bench.pipeline.asked[4]
    assert view.intrinsics.fx == 300.0, "the calibration that came with it"


def test_a_question_on_the_scene_graph_needs_an_image(bench: Bench) -> None:
    with pytest.raises(NoImageError, match="ask about an image"):
        bench.ask(COUNT, on_scene_graph=True)
    assert bench.pipeline.asked == ()


@pytest.mark.parametrize("options, message", [
    ({"answers": "not"}, "answers no questions"), ({"sees": False}, "not trained to recognise")])
def test_a_model_that_cannot_answer_is_named_before_anything_is_recognised(options: dict, message: str) -> None:
    bench = Bench(AskedOn(**options))
    (camera,) = bench.cameras.named("front")
    camera.newest = Frame(messages.image(_pixels((9, 0, 0)), header=messages.header("front")), 0.0)
    for fields in ({}, {"fresh": True}):
        with pytest.raises(UntrainedTaskError, match=message):
            bench.ask(COUNT, **fields)
    assert bench.pipeline.recognised == 0
