"""The node's picture of its own health, with a clock in the test's hand."""

from __future__ import annotations

import pytest

from kyvo_ros.ros.status import DROP_REASONS, ERROR, HOLD_S, OK, STAGES, WARN, Report, StageReport, Status


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def status(clock: Clock) -> Status:
    return Status(clock)


def _stage(report: Report, name: str) -> StageReport:
    return next(stage for stage in report.stages if stage.stage == name)


def _frame(status: Status, clock: Clock, *remarks: tuple[str, int, str], reason: str = "") -> None:
    """A frame comes and goes within a second, with these remarks at its stages; it is dropped where there is a reason.
    """
    clock.now += 0.25
    status.computing_began()
    clock.now += 0.25
    for remark in remarks:
        status.failed(*remark)
    clock.now += 0.5
    if reason:
        status.dropped(reason, f"it is {reason}")
    else:
        status.frame_done(1.0, 0.9, 1)
    status.computing_ended()


def test_every_drop_reason_names_a_known_stage() -> None:
    assert {stage for stage, _ in DROP_REASONS.values()} <= set(STAGES)


def test_a_healthy_node_says_ok_everywhere(status: Status) -> None:
    status.image_arrived()
    status.frame_done(0.1, 0.08, 3)
    report = status.report()
    assert [stage.level for stage in report.stages] == [OK] * len(STAGES)
    assert report.values["frames published"] == "1"
    assert report.values["objects in the last frame"] == "3"


def test_a_fault_shows_with_its_message_count_and_age_and_goes_when_it_is_over(status: Status, clock: Clock) -> None:
    status.dropped("bad_image", "unknown encoding; do this")
    clock.now += 1.0
    status.dropped("bad_image", "unknown encoding; do this")
    stage = _stage(status.report(), "image")
    assert (stage.level, stage.since_s) == (ERROR, 1.0)
    assert stage.message == "unknown encoding; do this (2 times)"
    _frame(status, clock)
    assert _stage(status.report(), "image").level == ERROR, "a report a second misses none"
    clock.now += HOLD_S
    assert _stage(status.report(), "image").level == OK
    assert status.report().values["dropped: bad_image"] == "2"
    assert status.report().values["last drop"] == "bad_image: unknown encoding; do this"


def test_a_fault_holds_however_rarely_it_comes_and_dates_from_the_first_time(status: Status, clock: Clock) -> None:
    for number in range(5):
        _frame(status, clock, reason="no_transform")
        for waited in range(10):
            stage = _stage(status.report(), "transforms")
            assert (stage.level, stage.since_s) == (ERROR, 11.0 * number + waited)
            clock.now += 1.0
    assert stage.message == "it is no_transform (5 times)"
    _frame(status, clock)
    assert status.report().worst().level == OK


def test_a_fault_that_comes_after_a_frame_has_passed_is_another(status: Status, clock: Clock) -> None:
    status.failed("transforms", ERROR, "first")
    clock.now += HOLD_S
    _frame(status, clock)
    status.failed("transforms", WARN, "second")
    stage = _stage(status.report(), "transforms")
    assert (stage.message, stage.level, stage.since_s) == ("second", WARN, 0.0)


def test_a_dropped_frame_has_passed_the_stages_before(status: Status, clock: Clock) -> None:
    _frame(status, clock, reason="inference_failed")
    _frame(status, clock, reason="bad_image")
    _frame(status, clock, reason="no_camera_info")
    clock.now += HOLD_S
    levels = {stage.stage: stage.level for stage in status.report().stages}
    assert levels == {"model": OK, "image": OK, "camera_info": WARN, "transforms": OK, "depth": OK, "inference": ERROR}


def test_a_warning_about_a_frame_that_goes_through_lasts_until_one_goes_without(status: Status, clock: Clock) -> None:
    for _ in range(3):
        _frame(status, clock, ("depth", WARN, "no depth fits"))
        clock.now += 2 * HOLD_S
        assert _stage(status.report(), "depth").message.startswith("no depth fits")
    assert _stage(status.report(), "depth").since_s == 2 * (1.0 + 2 * HOLD_S) + 0.5 + 2 * HOLD_S
    _frame(status, clock)
    assert status.report().worst().level == OK


def test_a_frame_that_began_before_a_fault_does_not_end_it(status: Status, clock: Clock) -> None:
    status.computing_began()
    clock.now += 0.5
    status.failed("depth", WARN, "no depth fits")  # the next frame, which is prepared meanwhile
    clock.now += 2 * HOLD_S
    status.frame_done(1.0, 1.0, 1)
    assert _stage(status.report(), "depth").level == WARN


def test_a_frame_with_a_warning_ends_the_error_before_it(status: Status, clock: Clock) -> None:
    _frame(status, clock, reason="no_transform")
    clock.now += HOLD_S
    _frame(status, clock, ("transforms", WARN, "too near"))
    stage = _stage(status.report(), "transforms")
    assert (stage.level, stage.message) == (WARN, "too near")


def test_a_warning_about_an_image_that_a_caller_brings_does_not_last(status: Status, clock: Clock) -> None:
    status.failed("inference", WARN, "nothing recognised")
    assert status.report().worst().message == "nothing recognised"
    clock.now += HOLD_S + 0.1
    assert status.report().worst().level == OK


@pytest.mark.parametrize("stage, over", [("depth", {"depth"}), ("image", set(STAGES)), ("model", set(STAGES))])
def test_what_is_not_in_use_does_not_fail(status: Status, clock: Clock, stage: str, over: set[str]) -> None:
    for name in STAGES:
        status.failed(name, ERROR, "broken")
    clock.now += HOLD_S + 0.1
    assert {s.level for s in status.report().stages} == {ERROR}
    report = status.report({stage: StageReport(stage, OK, "switched off")})
    assert {s.stage for s in report.stages if s.level == OK} == over
    assert _stage(report, stage).message == "switched off"
    assert {s.stage for s in status.report().stages if s.level == OK} == over, "it does not come back by itself"


@pytest.mark.parametrize("reason", ["no_listener", "camera_off"])
def test_where_no_frame_goes_through_nothing_fails(status: Status, clock: Clock, reason: str) -> None:
    status.failed("transforms", ERROR, "broken")
    status.dropped(reason)
    clock.now += HOLD_S + 0.1
    assert status.report().worst().level == OK


def test_a_lesser_fault_does_not_hide_a_worse_one(status: Status) -> None:
    status.failed("image", ERROR, "bad")
    status.failed("image", WARN, "meh")
    assert _stage(status.report(), "image").message == "bad"


def test_the_worst_stage_comes_first_and_model_before_the_rest(status: Status) -> None:
    status.failed("image", WARN, "starved")
    assert status.report().worst().message == "starved"
    status.failed("inference", ERROR, "broken")
    assert status.report().worst().stage == "inference"
    model = StageReport("model", ERROR, "no model")
    assert status.report({"model": model}).worst() is model


def test_normal_drops_are_counted_and_are_no_fault(status: Status) -> None:
    for reason in ("newer_frame", "rate_limit", "time_jump", "no_model"):
        status.dropped(reason)
    report = status.report()
    assert report.worst().level == OK
    assert report.values["frames dropped"] == "4" == str(sum(status.drops().values()))


def test_unknown_reasons_are_refused(status: Status) -> None:
    with pytest.raises(KeyError):
        status.dropped("because")


def test_images_faster_than_inference_are_named(status: Status, clock: Clock) -> None:
    for i in range(60):
        clock.now += 1 / 30
        status.image_arrived()
        if i % 6 == 0:
            status.frame_done(0.1, 0.1, 1)
        else:
            status.dropped("newer_frame")
    report = status.report()
    message = _stage(report, "inference").message
    assert "images arrive at 30.0 Hz and 5.0 Hz are computed" in message and "newest frame wins" in message
    assert report.worst().level == OK
    assert report.values["frame rate [Hz]"] == "5.00"


def test_a_frame_that_does_not_end_is_seen(status: Status, clock: Clock) -> None:
    status.frame_done(0.1, 0.1, 1)
    clock.now += 60.0
    assert _stage(status.report(), "inference").message == "idle" and status.computing_s() == 0.0
    status.computing_began()
    clock.now += 2.0
    status.computing_began()
    clock.now += 18.0
    assert status.computing_s() == 20.0
    assert "has been computed for 20.0 s" in _stage(status.report(), "inference").message
    status.computing_ended()
    assert status.computing_s() == 18.0
    status.computing_ended()
    assert status.computing_s() == 0.0 and _stage(status.report(), "inference").message == "idle"


def test_percentiles_of_latency(status: Status, clock: Clock) -> None:
    for ms in range(1, 101):
        clock.now += 0.01
        status.frame_done(ms / 1000, ms / 2000, 1)
    values = status.report().values
    assert values["latency p50 [ms]"] == "50.5"
    assert values["latency p95 [ms]"] == "95.0" or values["latency p95 [ms]"] == "95.1"
    assert values["inference p50 [ms]"] == "25.2" or values["inference p50 [ms]"] == "25.3"


def test_age_of_what_is_published(status: Status, clock: Clock) -> None:
    assert "since the last scene [s]" not in status.report().values
    status.frame_done(0.1, 0.1, 1)
    assert not any(name.startswith("age") for name in status.report().values), "of an image without a stamp"
    for ms in range(1, 101):
        status.frame_done(0.1, 0.1, 1, age_s=0.3 + ms / 1000)
    clock.now += 7.25
    values = status.report().values
    assert values["age p50 [ms]"] == "350.5" and values["age p95 [ms]"] in ("395.0", "395.1")
    assert values["since the last scene [s]"] in ("7.2", "7.3") and values["latency p95 [ms]"] == "100.0"


def test_rates_fall_when_nothing_comes(status: Status, clock: Clock) -> None:
    for _ in range(30):
        clock.now += 0.1
        status.image_arrived()
    assert status.report().values["image rate [Hz]"] == "10.00"
    clock.now += 30.0
    assert status.report().values["image rate [Hz]"] == "0.00"
    assert status.seconds_since_image() == pytest.approx(30.0)


def test_time_jumps_are_counted_and_said(status: Status) -> None:
    status.time_jumped(5.5)
    report = status.report()
    assert report.values["time jumps back"] == "1"
    assert "time jumped back by 5.50 s" in report.worst().message


def test_a_time_jump_needs_no_frame_to_be_over(status: Status, clock: Clock) -> None:
    status.computing_began()
    status.time_jumped(5.5)
    clock.now += HOLD_S + 0.1
    assert _stage(status.report(), "image").level == OK


def test_waiting_gives_way_to_a_worse_fault(status: Status) -> None:
    waiting = {"image": StageReport("image", WARN, "waiting")}
    assert _stage(status.report(waiting), "image").message == "waiting"
    status.failed("image", ERROR, "broken")
    assert _stage(status.report(waiting), "image").message == "broken"


def test_what_has_failed_a_while_ago_gives_way_to_what_is_waited_for_since(status: Status, clock: Clock) -> None:
    waiting = {"image": StageReport("image", WARN, "no image for 9 s")}
    _frame(status, clock, ("image", WARN, "no frame_id"))
    assert _stage(status.report(waiting), "image").message == "no frame_id"
    clock.now += HOLD_S
    assert _stage(status.report(waiting), "image").message == "no image for 9 s"
    status.dropped("bad_image", "broken")
    clock.now += HOLD_S + 0.1
    assert _stage(status.report(waiting), "image").message == "broken; now no image for 9 s"
    assert _stage(status.report(waiting), "image").level == ERROR
