"""`kyvo_managed_node`: kyvo_node with ROS 2's life cycle.

Unconfigured there is no model; configuring loads and checks it; active the node listens and publishes; deactivating
and cleaning up let the model go and give its memory back. Services, parameters and diagnostics stay alive in every
state and during every transition, and a transition that fails leaves a node that can be told what to do next.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from functools import wraps

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from kyvo_ros.ros import node as plain
from kyvo_ros.ros.bond import Bond
from kyvo_ros.ros.camera_settings import Configuration
from kyvo_ros.ros.distributions import ManagedNodeMixin
from kyvo_ros.ros.frames import FrameDropped, Pipeline
from kyvo_ros.ros.model_slot import PipelineFactory, kyvo_pipeline
from kyvo_ros.ros.worker import WorkerStoppedError

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR
_UNCONFIGURED = "the node is unconfigured and holds no model; configure and activate it"
_INACTIVE = "the node is inactive and has let its model go; activate it"
_FINALIZED = "the node is finalized; start it again"


def _told(transition: Callable) -> Callable:
    """A transition whose exceptions are told in the log; rclpy makes an error of them without a word."""
    @wraps(transition)
    def guarded(node: ManagedKyvoNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except WorkerStoppedError:  # the process ends, which lets all go
            return FAILURE
        except Exception:  # the boundary of a transition
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            return ERROR
    return guarded


class ManagedKyvoNode(ManagedNodeMixin, plain.KyvoNode):
    """The node with a life cycle; the parameter `autostart` configures and activates it at its start."""

    def __init__(self, factory: PipelineFactory = kyvo_pipeline, **options) -> None:
        # Transitions and changes of parameters come in different threads; none of them waits while it holds this.
        self._changing = threading.RLock()
        plain.KyvoNode.__init__(self, factory, active=False, **options)
        # Reentrant, so that get_state answers while a transition takes its time.
        ManagedNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._autostart = self.declare_parameter("autostart", False, ParameterDescriptor(
            description="Configure and activate at the start, without a lifecycle manager.", read_only=True)).value
        self._slot.unload(_UNCONFIGURED)
        self._bond = Bond(self)

    def close(self, timeout_s: float = plain.FRAME_LIMIT_S) -> bool:
        """As the plain node's; a lifecycle manager hears of it."""
        self._bond.dissolve()  # what is left of it ends with the node
        return super().close(timeout_s)

    def started(self) -> None:
        """In a thread of its own, since loading takes its time and signals must be heard meanwhile."""
        if self._autostart:
            threading.Thread(target=self._start_itself, name="autostart", daemon=True).start()

    def _start_itself(self) -> None:
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    # --- transitions, in a thread of the executor

    @_told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and check the model."""
        return SUCCESS if self._load() else FAILURE

    @_told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model again where it was let go, and listen."""
        if not self._load():
            return FAILURE
        with self._changing:
            self._listen(True)
            if not self._slot.holds(self.settings):  # they have changed since
                self._load_model()
        self._bond.form()
        return SUCCESS

    @_told
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, let the model go and take the markers away."""
        self._rest(_INACTIVE)
        return SUCCESS

    @_told
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the model go."""
        self._rest(_UNCONFIGURED)
        return SUCCESS

    @_told
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let all go; the process ends by a signal, as the plain node's."""
        self._rest(_FINALIZED)
        return SUCCESS

    @_told
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition has raised: back to the beginning, where it can be configured again."""
        self._rest(_UNCONFIGURED)
        return SUCCESS

    def _load(self) -> bool:
        """Load the model of the settings in the worker's thread, unless it is there; False where that fails."""
        outcome = self._worker.submit(lambda: self._slot.load(self.settings))
        outcome.add_done_callback(self._model_loaded)  # says in the log how it went
        return outcome.exception() is None

    def _rest(self, why: str) -> None:
        """Neither listen nor hold a model; waits for the frame that is being computed."""
        self._bond.dissolve()
        with self._changing:
            self._listen(False)
            unloaded = self._worker.submit(lambda: self._slot.unload(why))
        unloaded.result()
        for camera in self._cameras:
            camera.forget()
            camera.clear_markers()

    def _listen(self, listens: bool) -> None:
        self._active = listens
        for camera in self._cameras:
            camera.listen(listens)

    # --- what the plain node does in other words while this one is not active

    def _ready_pipeline(self) -> Pipeline:
        if not self._active:
            report = self._slot.report()
            raise FrameDropped("no_model", report.message if report else "the node is inactive; activate it")
        return super()._ready_pipeline()

    def _settings_changed(self, old: Configuration, new: Configuration) -> None:
        with self._changing:
            if self._active:
                super()._settings_changed(old, new)
            else:
                self._follow(new)


def main(args: list[str] | None = None, factory: PipelineFactory = kyvo_pipeline) -> int:
    """Entry point; as kyvo_node's."""
    return plain.main(args, factory, ManagedKyvoNode)


if __name__ == "__main__":
    sys.exit(main())
