"""One recording to one bag of results, and many of them in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from kyvo_ros.machine import cores
from kyvo_ros.ros.model_slot import PipelineFactory, kyvo_pipeline
from kyvo_ros.ros.offline.bags import STORAGES, Bag, BagWriter, Heard, Topics, choose_topics
from kyvo_ros.ros.offline.pictures import heard_in_folder, heard_in_video, is_picture_folder
from kyvo_ros.ros.offline.replay import Ledger, Replay
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import PinholeCamera

BAG_SUFFIXES = (".mcap", ".db3")


class ProcessLostError(RuntimeError):
    """A process that was at work has been ended from outside."""


@dataclass(frozen=True)
class Job:
    """What becomes of one recording."""

    source: Path  # a rosbag2, a folder of images, or a video
    output: Path  # the bag of results, which must not be there yet
    settings: Settings = Settings()
    image_topic: str = ""  # of a bag; empty: the only one
    camera_info_topic: str = ""  # of a bag; empty: the one beside the images
    namespace: str = ""  # of the results' topics, such as /robot
    storage: str = STORAGES[0]
    camera: PinholeCamera | None = None  # of a folder or video
    rate_hz: float = 1.0  # of a folder's images
    depth_topic: str = ""  # of a bag, where settings.depth_source asks for depth; empty: the only one


@dataclass(frozen=True)
class Outcome:
    """How a job went; `error` is empty where it came to its end."""

    job: Job
    ledger: Ledger
    error: str = ""


class Source(NamedTuple):
    """An open recording."""

    heard: Iterator[Heard]
    settings: Settings  # that hold for it
    topics: Topics = Topics("")  # of a bag


def run_job(job: Job, factory: PipelineFactory = kyvo_pipeline) -> Ledger:
    """Run a recording through a pipeline and write its results. Raises BagError and what loading the model raises."""
    from kyvo_ros.ros.offline.message_packages import provide
    provide()  # before the conversions, which import the message packages
    from kyvo_ros.ros.offline.results import GraphWriter, ResultWriter
    ledger = Ledger()
    with ExitStack() as stack:
        source = open_source(job, stack)
        bag = stack.enter_context(BagWriter(job.output, job.storage))
        writer = ResultWriter(bag, source.settings, job.namespace)
        pipeline = factory(source.settings)
        replay = Replay(pipeline, source.settings, ledger)
        graph = GraphWriter(bag, source.settings, replay.locate, ledger, job.namespace)
        for when_ns, frame, result in replay.frames(source.heard):
            writer.write(when_ns, frame, result)
            graph.write(when_ns, frame, result, partial(pipeline.field, result.view.plane, result.unit_m))
        ledger.graph = graph.figures()
    return ledger


def is_bag(source: Path) -> bool:
    """Whether a file or folder is taken for a rosbag2."""
    return source.suffix in BAG_SUFFIXES or (source / "metadata.yaml").exists()


def open_source(job: Job, stack: ExitStack) -> Source:
    """What a job's recording says; it stays open as long as `stack`. Raises BagError."""
    if is_bag(job.source) or not job.source.exists():
        bag = stack.enter_context(Bag(job.source))
        topics = choose_topics(bag.types(), job.image_topic, job.camera_info_topic, job.depth_topic,
                               job.settings.depth_source)
        return Source(bag.heard(topics), job.settings, topics)
    # Nobody else can say how such a camera sees: without a calibration the model's own lens is assumed.
    settings = replace(job.settings, camera_info_required=job.camera is not None)
    if is_picture_folder(job.source):
        return Source(heard_in_folder(job.source, job.rate_hz, job.camera), settings)
    return Source(heard_in_video(job.source, job.camera), settings)


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[Outcome]:
    """The outcomes of all jobs, in their order; a job that fails ends no other. Raises ProcessLostError."""
    if processes == 1 or len(jobs) == 1:
        yield from map(_run_guarded, jobs)
        return
    threads = max(1, cores() // min(processes, len(jobs)))
    shared = [job if job.settings.threads else replace(job, settings=replace(job.settings, threads=threads))
              for job in jobs]
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads in an unknown state
    try:
        with ProcessPoolExecutor(min(processes, len(jobs)), spawn) as pool:
            yield from pool.map(_run_guarded, shared)
    except BrokenProcessPool as error:
        raise ProcessLostError("a process has ended in the middle of its recording, perhaps for want of memory; give "
                               "fewer --jobs, and run what is not written yet again") from error


def _run_guarded(job: Job) -> Outcome:
    try:
        return Outcome(job, run_job(job, _kept_pipeline))
    except (ValueError, OSError) as error:  # our own named exceptions, and files that cannot be used
        return Outcome(job, Ledger(), str(error))
    except Exception as error:  # the boundary of a job: whatever one does, the others get their turn
        return Outcome(job, Ledger(), f"{type(error).__name__}: {error}")


def _kept_pipeline(settings: Settings):
    return _pipeline_of(settings.model, settings.device, settings.threads, settings.dtype)


@lru_cache(maxsize=1)
def _pipeline_of(model: str, device: str, threads: int, dtype: str):
    """One model a process, for all jobs that it does."""
    return kyvo_pipeline(Settings(model=model, device=device, threads=threads, dtype=dtype, parallel_frames=1))
