"""`kyvo_node`: camera in, scene out.

Callbacks only store; a worker thread takes the newest frame, runs it and publishes. Services, parameters and
diagnostics stay alive meanwhile, and no frame, model or transform that fails ends the node.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from kyvo_msgs.msg import SceneGraph
from kyvo_msgs.srv import Recognize
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions.results import graph_of
from kyvo_ros.ros.diagnostics import report_to_msg
from kyvo_ros.ros.graph import GraphKeeper
from kyvo_ros.ros.graph_files import GraphFiles
from kyvo_ros.ros.graph_outputs import GraphOutputs
from kyvo_ros.ros.graph_services import GraphServices
from kyvo_ros.ros.inputs import Inputs
from kyvo_ros.ros.language import Language
from kyvo_ros.ros.language_services import LanguageServices
from kyvo_ros.ros.mailbox import Mailbox
from kyvo_ros.ros.model_slot import ModelSlot, PipelineFactory, check_model_folder, kyvo_pipeline
from kyvo_ros.ros.outputs import Outputs
from kyvo_ros.ros.parameters import NodeParameters
from kyvo_ros.ros.recognition import Frame, FrameDropped, Recognizer, stamp_to_ns
from kyvo_ros.ros.reconstruction import ReconstructionService
from kyvo_ros.ros.serving import Server
from kyvo_ros.ros.settings import SettingError, Settings
from kyvo_ros.ros.status import OK, Report, Status
from kyvo_ros.ros.tf_listener import transform_source
from kyvo_ros.ros.transforms import JUMP_BACK_NS
from kyvo_ros.ros.worker import Worker, WorkerStoppedError

#: One for the inputs, two for service calls that wait (recognize or reconstruct; ask, edit or render), one for the
#: scene graph's, two for parameters and diagnostics, one for a transition of a managed node.
EXECUTOR_THREADS = 7
_REPEAT_LOG_S = 10.0


class KyvoNode(Node):
    """The node; `factory` makes the pipeline from the settings, in the worker's thread.

    Raises SettingError where the start parameters are not valid. Call `close` before `destroy_node`.
    """

    def __init__(self, factory: PipelineFactory = kyvo_pipeline, active: bool = True, **options) -> None:
        """`active`: listen and load the model from the beginning."""
        super().__init__("kyvo_node", **options)
        self._declared = NodeParameters(self, self._settings_changed, _check_change)
        self._status = Status()
        self._slot = ModelSlot(factory)
        self._infos = CameraInfoCache()
        self._transforms = transform_source(self, self.settings.tf_buffer_s, self.settings.max_tf_frames)
        self._recognizer = Recognizer(self._infos, self._transforms, self._status)
        self._outputs = Outputs(self)
        self._graph_outputs = GraphOutputs(self)
        self._graph = GraphKeeper(self._recognizer.frame_T_plane, self._status, self._graph_outputs.publish)
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._worker = Worker(self._mailbox, self._process, self._failed, lambda: self.settings.min_period_s)
        self._server = Server(self._worker, lambda: self.settings)
        self._language = Language(self._recognizer, self._ready_pipeline, lambda: self.settings, lambda: self._newest,
                                  self._graph)
        self._newest: Frame | None = None
        self._newest_stamp_ns = 0
        self._epoch = 0
        self._logged = ("", -_REPEAT_LOG_S)
        if self.settings.needs_tf:
            self._transforms.start()
        self._graph.follow(self.settings)
        self._inputs = Inputs(self, self.settings, self._on_image, self._on_camera_info, active)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on while simulated time stands
        self.create_timer(1.0, self._report, callback_group=MutuallyExclusiveCallbackGroup(), clock=steady)
        waiting = MutuallyExclusiveCallbackGroup()  # one thread for both, since the worker takes turns anyway
        self.create_service(Recognize, "recognize", self._on_recognize, callback_group=waiting)
        self._reconstruction = ReconstructionService(
            self, self._recognizer, self._ready_pipeline, lambda: self.settings, lambda: self._newest, self._server,
            waiting)
        self._language_services = LanguageServices(self, self._language, self._worker, self._server)
        self._graph_services = GraphServices(self, self._graph, GraphFiles(self.settings.memory_folder))
        self._worker.start()
        if active:
            self._load_model()  # last: it imports torch, and the node should be on the graph before

    @property
    def settings(self) -> Settings:
        """The newest valid settings."""
        return self._declared.current

    def started(self) -> None:
        """Called once callbacks run."""

    def close(self, timeout_s: float = 30.0) -> bool:
        """Stop the worker and delete the markers; True where the running frame ended in time."""
        ended = self._worker.stop(timeout_s)
        self._language_services.close()
        if rclpy.ok(context=self.context):
            self._outputs.clear_markers()
            self._graph_outputs.clear_markers()
        return ended

    # --- callbacks of the executor: they store and return

    def _on_image(self, message) -> None:
        self._status.image_arrived()
        self._watch_time(stamp_to_ns(message.header.stamp))
        self._newest = Frame(message, time.monotonic(), self._epoch)
        if self._mailbox.put(self._newest) is not None:
            self._status.dropped("no_model" if self._slot.pipeline is None else
                                 "rate_limit" if self._worker.pausing else "newer_frame")

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._infos.store(message)

    def _watch_time(self, stamp_ns: int) -> None:
        """Where the images' time has gone back, forget what belongs to a future that is no more."""
        if stamp_ns == 0:  # a driver without stamps
            return
        back_ns, self._newest_stamp_ns = self._newest_stamp_ns - stamp_ns, stamp_ns
        if back_ns > JUMP_BACK_NS:
            self._epoch += 1
            self._transforms.jumped_back(stamp_ns)
            if self._mailbox.clear() is not None:
                self._status.dropped("time_jump")
            self._status.time_jumped(back_ns / 1e9)

    def _settings_changed(self, old: Settings, new: Settings) -> None:
        if new.needs_tf:
            self._transforms.start()
        self._graph.follow(new)
        if ModelSlot.key(old) != ModelSlot.key(new) or self._slot.failed:
            self._load_model()

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
        frame = Frame(request.image, time.monotonic()) if len(request.image.data) else self._newest
        info = request.camera_info if request.camera_info.width else None
        return self._server.serve(lambda: {"scene": self._recognize_now(frame, info)}, response)

    # --- the worker's thread

    def _ready_pipeline(self):
        pipeline = self._slot.pipeline
        if pipeline is None:
            raise FrameDropped("no_model", self._slot.report().message)
        return pipeline

    def _recognize_now(self, frame: Frame | None, info: CameraInfo | None) -> SceneGraph:
        if frame is None:
            raise FrameDropped("bad_image", "the request holds no image and the node has received none yet")
        result = self._recognizer.recognize_once(frame, info, self._ready_pipeline(), self.settings)
        return graph_of(result, frame.message.header.stamp)

    def _process(self, frame: Frame) -> None:
        settings = self.settings
        pipeline = self._ready_pipeline()
        result = self._recognizer.recognize(frame, pipeline, settings)
        self._outputs.publish(result, frame.message.header.stamp, settings)
        self._language.saw(frame, result)
        self._graph.saw(frame, result, pipeline.field(result.view.plane, result.unit_m), settings)
        self._status.frame_done(time.monotonic() - frame.arrived_s, result.inference_s, len(result.objects))

    def _failed(self, frame: Frame, error: Exception) -> None:
        if isinstance(error, FrameDropped):
            self._status.dropped(error.reason, str(error))
            return
        self._status.dropped("inference_failed", f"a frame failed with {type(error).__name__}: {error}")
        self.get_logger().error("a frame failed:\n" + "".join(traceback.format_exception(error)),
                                throttle_duration_sec=_REPEAT_LOG_S)

    # --- diagnostics

    def _report(self) -> None:
        waiting = self._inputs.waiting(self.settings, self._status.seconds_since_image(), self._newest is not None)
        model = self._slot.report()
        report = self._status.report({**waiting, **({"model": model} if model else {})})
        name, device = self._slot.name_and_device()
        extra = {"model": name, "device": device, "image topic": self._inputs.image_topic,
                 "camera_info topic": self._inputs.camera_info_topic, "scale": self.settings.scale,
                 "output frame": self.settings.output_frame or "camera", **self._graph.figures()}
        stamp = self.get_clock().now().to_msg()
        full_name = f"{self.get_namespace().rstrip('/')}/{self.get_name()}"
        self._diagnostics.publish(report_to_msg(report, full_name, device, extra, stamp))
        self._log(report)

    def _log(self, report: Report) -> None:
        """Say in the terminal what is wrong: when it changes, and now and then while it lasts."""
        worst, now = report.worst(), time.monotonic()
        state = f"{worst.stage} {worst.level}" if worst.level > OK else ""
        if state == self._logged[0] and (not state or now - self._logged[1] < _REPEAT_LOG_S):
            return
        recovered = not state and self._logged[1] > 0
        self._logged = (state, now)
        if state:
            self.get_logger().warning(f"{worst.stage}: {worst.message}")
        elif recovered:
            self.get_logger().info("running again")


def _check_change(old: Settings, new: Settings) -> None:
    if old.model != new.model:
        check_model_folder(new.model)


def spin(executor: Executor, node: Node, stop: threading.Event) -> None:
    """Run callbacks until the executor is shut down; one that raises is logged and ends nothing."""
    while not stop.is_set():
        try:
            executor.spin()
        except ExternalShutdownException:
            stop.set()
        except Exception:  # what a callback raises, and rclpy itself where a subscription goes while it waits
            node.get_logger().error("a callback failed:\n" + traceback.format_exc())


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
    executor = MultiThreadedExecutor(EXECUTOR_THREADS)
    executor.add_node(node)
    spinner = threading.Thread(target=spin, args=(executor, node, stop), name="executor")
    spinner.start()
    node.started()
    while not stop.wait(1.0):  # in pieces, so that signals are seen
        pass
    if not node.close():
        node.get_logger().error("the running frame did not end; leaving without it")
        os._exit(1)
    executor.shutdown()
    spinner.join()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
