"""The node's model: loading, ready or failed, with the reason. Knows nothing of ROS or of what a model is."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from kyvo_ros.machine import cores
from kyvo_ros.ros.frames import Pipeline
from kyvo_ros.ros.settings import SettingError, Settings
from kyvo_ros.ros.status import ERROR, OK, WARN, StageReport

PipelineFactory = Callable[[Settings], Pipeline]


def kyvo_pipeline(settings: Settings) -> Pipeline:
    """The real pipeline. Imports torch, which takes seconds, so call it beside the executor."""
    from kyvo_ros.pipeline import KyvoPipeline
    pipeline = KyvoPipeline.from_pretrained(settings.model or None, settings.device, settings.threads or cores(),
                                            settings.dtype)
    if not settings.threads:
        pipeline.threads = max(1, cores() // parallel_frames(settings, pipeline))
    return pipeline


def parallel_frames(settings: Settings, pipeline: Pipeline) -> int:
    """How many frames are computed at the same time."""
    return settings.parallel_frames or pipeline.images_at_once


def check_model_folder(path: str) -> None:
    """Raises SettingError where a model folder certainly cannot be loaded; the rest shows when it is."""
    if path and not Path(path).is_dir():
        raise SettingError(f"model folder '{path}' does not exist; give the path of a folder with config.json")
    if path and not (Path(path) / "config.json").is_file():
        raise SettingError(f"model folder '{path}' has no config.json; give the path of a trained model's folder")


class ModelSlot:
    """Holds the newest pipeline that could be loaded. `load` belongs in the worker's thread."""

    def __init__(self, factory: PipelineFactory) -> None:
        self._factory = factory
        self._guard = threading.Lock()
        self._pipeline: Pipeline | None = None
        self._loaded_for: tuple | None = None
        self._loading = True
        self._error = ""
        self._resting = ""

    @property
    def pipeline(self) -> Pipeline | None:
        return self._pipeline

    def parallel_frames(self, settings: Settings) -> int:
        """How many frames are computed at the same time."""
        pipeline = self._pipeline
        return parallel_frames(settings, pipeline) if pipeline else 1

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded, or will be as the worker's first errand."""
        with self._guard:
            return self._loading

    @property
    def failed(self) -> bool:
        """Whether the last load failed; setting the parameters again then tries again."""
        return bool(self._error)

    @staticmethod
    def key(settings: Settings) -> tuple:
        """The settings that make another model."""
        return (settings.model, settings.device, settings.dtype, settings.threads, settings.parallel_frames)

    def holds(self, settings: Settings) -> bool:
        """Whether the model of the settings is here."""
        with self._guard:
            return self._loaded_for == self.key(settings) and not self._error

    def load(self, settings: Settings) -> None:
        """Load the model of the settings unless it is the one here. On failure the old one stays.

        Raises what the factory raises, after keeping it for `report`.
        """
        if self.holds(settings):
            return
        with self._guard:
            self._loading, self._error, self._resting = True, "", ""
        error = ""
        try:
            self._pipeline = self._factory(settings)
            self._loaded_for = self.key(settings)
        except Exception as problem:
            error = _explain(problem)
            raise
        finally:
            with self._guard:
                self._loading, self._error = False, error

    def unload(self, why: str) -> None:
        """Let the model go, and give its memory back; `why` is what `report` says until the next load."""
        with self._guard:
            self._pipeline, self._loaded_for = None, None
            self._loading, self._error, self._resting = False, "", why
        gc.collect()
        torch = sys.modules.get("torch")  # where nothing has imported it, there is nothing to give back
        if torch is not None and torch.cuda.is_available():
            try:
                torch.cuda.empty_cache()
            except RuntimeError as error:  # after a fault of the GPU, which only a new process gets over
                with self._guard:
                    self._resting = f"{why}; the GPU's memory could not be given back ({error}): start the node again"

    def report(self) -> StageReport | None:
        """What the diagnostics say of the model; None where all is well."""
        with self._guard:
            if self._loading:
                return StageReport("model", WARN, "loading the model")
            if self._resting:
                return StageReport("model", OK, self._resting)
            if not self._error:
                return None
            kept = f"; the model before it ({self._pipeline.name}) goes on" if self._pipeline else ""
            return StageReport("model", ERROR if not self._pipeline else WARN, f"{self._error}{kept}")

    def name_and_device(self) -> tuple[str, str]:
        """For the diagnostics; "none" where no model is loaded."""
        pipeline = self._pipeline
        return (pipeline.name, str(pipeline.device)) if pipeline else ("none", "none")


def _explain(problem: Exception) -> str:
    if isinstance(problem, ImportError) or (isinstance(problem, OSError) and ".so" in str(problem)):
        return f"{problem}; install it for the Python that runs this node ({sys.executable}), see the README"
    return f"cannot load the model: {problem}" if str(problem) else f"cannot load the model: {problem!r}"
