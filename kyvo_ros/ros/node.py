"""`kyvo_node`: cameras in, scenes out.

Callbacks only store; a worker thread takes the newest frames of the cameras in turn, has them computed, several at the
same time where there are cores for it, and publishes them in their order.
Services, parameters and diagnostics stay alive meanwhile, and no frame, model or transform that fails ends the node.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial

import rclpy
from kyvo_msgs.msg import SceneGraph
from kyvo_msgs.srv import Recognize
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from kyvo_ros.ros.camera import Camera, House, Shot
from kyvo_ros.ros.camera_settings import Configuration
from kyvo_ros.ros.cameras import Cameras, recognized_once
from kyvo_ros.ros.computing import Computed, finished, prepared, seen
from kyvo_ros.ros.conversions.results import graph_of
from kyvo_ros.ros.executor import BriefCallbackGroup, PoolExecutor, spin
from kyvo_ros.ros.frames import FrameDropped, Pipeline, Recognition
from kyvo_ros.ros.graph import GraphKeeper
from kyvo_ros.ros.graph_files import GraphFiles
from kyvo_ros.ros.graph_outputs import GraphOutputs
from kyvo_ros.ros.graph_services import GraphServices
from kyvo_ros.ros.language import Language
from kyvo_ros.ros.language_services import LanguageServices
from kyvo_ros.ros.mailbox import Mailbox
from kyvo_ros.ros.model_slot import ModelSlot, PipelineFactory, check_model_folder, kyvo_pipeline
from kyvo_ros.ros.parameters import NodeParameters
from kyvo_ros.ros.qos import REQUESTS
from kyvo_ros.ros.recognition import frame_T_plane
from kyvo_ros.ros.reconstruction import ReconstructionService
from kyvo_ros.ros.regions import RegionError, check_mask
from kyvo_ros.ros.reporting import REPEAT_LOG_S, Reporter
from kyvo_ros.ros.serving import Server
from kyvo_ros.ros.settings import MOST_CAMERAS, SettingError, Settings
from kyvo_ros.ros.tf_listener import transform_source
from kyvo_ros.ros.worker import Job, Worker, WorkerStoppedError

#: Two for service calls that wait (recognize or reconstruct; ask, edit or render), one for the scene graph's, two for
#: parameters and diagnostics, one for a transition of a managed node. Inputs are brief and take none.
EXECUTOR_THREADS = 6
#: How long the end of the node waits for the delivery of results that are there.
DELIVERY_LIMIT_S = 2.0
#: How long it waits for the running frame, and for a model that is being loaded, of which nobody has anything yet:
#: whoever has sent a signal waits a few seconds before the next one (ros2 launch: 5).
FRAME_LIMIT_S, LOADING_LIMIT_S = 30.0, 1.0


class KyvoNode(Node):
    """The node; `factory` makes the pipeline from the settings, in the worker's thread.

    Raises SettingError where the start parameters are not valid. Call `close` before `destroy_node`.
    """

    _language_services: LanguageServices | None = None  # rclpy also destroys nodes whose making has failed

    def __init__(self, factory: PipelineFactory = kyvo_pipeline, active: bool = True, **options) -> None:
        """`active`: listen and load the model from the beginning."""
        super().__init__("kyvo_node", **options)
        self._active = active
        self._declared = NodeParameters(self, self._settings_changed, _check_change)
        self._slot = ModelSlot(factory)
        self._transforms = transform_source(self, self.settings.tf_buffer_s, self.settings.max_tf_frames)
        self._graph_outputs = GraphOutputs(self)
        self._graph = GraphKeeper(partial(frame_T_plane, self._transforms), self._graph_outputs.publish)
        mailbox: Mailbox[Shot] = Mailbox()
        self._worker = Worker(mailbox, self._process, self._failed, lambda: self.settings.batch or MOST_CAMERAS,
                              lambda: self._slot.parallel_frames(self.settings))
        self._server = Server(self._worker, lambda: self.settings)
        house = House(self, mailbox, self._transforms, lambda: self._slot.pipeline is not None, BriefCallbackGroup())
        self._cameras = Cameras(lambda name, settings: Camera(name, settings, house, self._active), self._worker.submit)
        self._language = Language(self._cameras, self._ready_pipeline, lambda: self.settings, self._graph)
        self._follow(self._declared.current)
        self._reporter = Reporter(self, self._cameras, self._slot, self._figures)
        waiting = MutuallyExclusiveCallbackGroup()  # one thread for both, since the worker takes turns anyway
        self.create_service(Recognize, "recognize", self._on_recognize, qos_profile=REQUESTS, callback_group=waiting)
        self._reconstruction = ReconstructionService(self, self._cameras, self._ready_pipeline, self._server, self._graph,
                                                     waiting)
        self._language_services = LanguageServices(self, self._language, self._worker, self._server)
        self._graph_services = GraphServices(self, self._graph, GraphFiles(self.settings.memory_folder))
        self._worker.start()
        if active:
            self._load_model()  # last: it imports torch, and the node should be on the graph before

    @property
    def settings(self) -> Settings:
        """The newest valid settings of the node; its cameras may have some of their own."""
        return self._declared.current.node

    @property
    def loading(self) -> bool:
        """Whether its model is being loaded."""
        return self._slot.loading

    def started(self) -> None:
        """Called once callbacks run."""

    def close(self, timeout_s: float = FRAME_LIMIT_S) -> bool:
        """Stop the worker and delete the markers; True where what was running ended in time."""
        ended = self._worker.stop(timeout_s)
        self._language_services.finish(DELIVERY_LIMIT_S)
        if rclpy.ok(context=self.context):
            for camera in self._cameras:
                camera.clear_markers()
            self._graph_outputs.clear_markers()
        return ended

    def destroy_node(self) -> None:
        """Once no executor spins: one that waits for an action that is taken back fails."""
        if self._language_services is not None:
            self._language_services.close()
        super().destroy_node()

    # --- callbacks of the executor: they store and return

    def _settings_changed(self, old: Configuration, new: Configuration) -> None:
        self._follow(new)
        if ModelSlot.key(old.node) != ModelSlot.key(new.node) or self._slot.failed:
            self._load_model()

    def _follow(self, configuration: Configuration) -> None:
        if configuration.needs_tf:
            self._transforms.start()
        self._graph.follow(configuration.node)
        self._cameras.follow(configuration)

    def _load_model(self) -> None:
        self._worker.submit(lambda: self._slot.load(self.settings)).add_done_callback(self._model_loaded)

    def _model_loaded(self, outcome: Future) -> None:
        error = outcome.exception()
        if error is None:
            name, device = self._slot.name_and_device()
            self.get_logger().info(f"model {name} is ready on {device}")
        elif not isinstance(error, WorkerStoppedError):
            self.get_logger().error(self._slot.report().message)

    def _on_recognize(self, request: Recognize.Request, response: Recognize.Response) -> Recognize.Response:
        """Waits for the worker in a thread of its own."""
        return self._server.serve(lambda shot: {"scene": self._recognize_now(shot, request)}, response,
                                  lambda: self._cameras.meant(request))

    # --- the worker's thread

    def _ready_pipeline(self) -> Pipeline:
        pipeline = self._slot.pipeline
        if pipeline is None:
            raise FrameDropped("no_model", self._slot.report().message)
        return pipeline

    def _recognize_now(self, shot: Shot | None, request: Recognize.Request) -> SceneGraph:
        result = recognized_once(shot, request, self._ready_pipeline())
        return graph_of(result, shot.frame.message.header.stamp)

    def _process(self, shots: list[Shot]) -> Job:
        """The frames of several cameras, each guarded."""
        pipeline = self._ready_pipeline()
        for camera, _ in shots:
            camera.status.computing_began()
        try:
            ready, hopeless = prepared(shots, pipeline)
            self._publish_all(hopeless, pipeline)
            if ready:
                scenes, inference_s = yield partial(seen, ready, pipeline)
                self._publish_all(finished(ready, scenes, inference_s, pipeline), pipeline)
        finally:
            for camera, _ in shots:
                camera.status.computing_ended()

    def _publish_all(self, results: Iterable[Computed], pipeline: Pipeline) -> None:
        for shot, settings, outcome in results:
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                self._publish(shot, settings, outcome, pipeline)
            except Exception as error:  # the boundary of a frame: the others get their turn
                self._failed([shot], error)

    def _publish(self, shot: Shot, settings: Settings, result: Recognition, pipeline: Pipeline) -> None:
        camera, frame = shot
        camera.publish(frame, result, settings)
        field = partial(pipeline.field, result.view.plane, result.unit_m)
        self._graph.saw(frame, result, field, settings, camera.status, camera.name)
        camera.done(frame, result)

    def _failed(self, shots: list[Shot], error: Exception) -> None:
        reason, message = (error.reason, str(error)) if isinstance(error, FrameDropped) else (
            "inference_failed", f"a frame failed with {type(error).__name__}: {error}")
        for camera, _ in shots:
            camera.status.dropped(reason, message)
        if reason == "inference_failed":
            self.get_logger().error("a frame failed:\n" + "".join(traceback.format_exception(error)),
                                    throttle_duration_sec=REPEAT_LOG_S)

    # --- diagnostics

    def _figures(self) -> dict[str, str]:
        return {"transforms ignored": str(self._transforms.ignored), **self._graph.figures()}


def _check_change(old: Configuration, new: Configuration) -> None:
    """Raises SettingError where a file that the settings name certainly cannot be used."""
    if old.node.model != new.node.model:
        check_model_folder(new.node.model)
    for name, settings in new.cameras.items():
        before = old.cameras.get(name, Settings())
        if (settings.mask, settings.mask_folder) != (before.mask, before.mask_folder):
            try:
                check_mask(settings)
            except RegionError as error:
                raise SettingError(f"camera {name}: {error}" if name else str(error)) from error


def main(args: list[str] | None = None, factory: PipelineFactory = kyvo_pipeline,
         make: Callable[[PipelineFactory], KyvoNode] = KyvoNode) -> int:
    """Entry point; ends on SIGINT and SIGTERM with all threads joined."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = make(factory)
    except SettingError as error:
        print(f"kyvo_node: {error}; correct the parameter file or the command line", file=sys.stderr)
        rclpy.shutdown()
        return 2
    executor = PoolExecutor(EXECUTOR_THREADS)
    executor.add_node(node)
    spinner = threading.Thread(target=spin, args=(executor, node, stop), name="executor")
    spinner.start()
    node.started()
    while not stop.wait(1.0):  # in pieces, so that signals are seen
        pass
    _end(node, executor, spinner)
    return 0


def _end(node: KyvoNode, executor: PoolExecutor, spinner: threading.Thread) -> None:
    """Join the threads; where that cannot be, because a frame hangs or a model is being loaded, end the process."""
    loading, ended = node.loading, False
    try:
        ended = node.close(LOADING_LIMIT_S if loading else FRAME_LIMIT_S)
        if not ended and not loading:
            node.get_logger().error("the running frame did not end; leaving without it")
            os._exit(1)
    finally:
        executor.shutdown(None if ended else 0.0)
        spinner.join()
    if not ended:
        node.get_logger().info("leaving while the model loads")
    node.destroy_node()
    rclpy.try_shutdown()
    if not ended:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
