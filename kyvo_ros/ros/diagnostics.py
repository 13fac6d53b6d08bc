"""Status reports as diagnostic_msgs/DiagnosticArray: one summary with one clear message, and one entry a stage.

A node with one camera that has no name gives one report. With named cameras the first summary is the node's, `: model`
follows, and then a summary and the stages of each camera: `: front`, `: front: image` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from kyvo_ros.ros.status import ERROR, OK, WARN, Report, StageReport

_LEVELS = {OK: DiagnosticStatus.OK, WARN: DiagnosticStatus.WARN, ERROR: DiagnosticStatus.ERROR}


def reports_to_msg(reports: Mapping[str, tuple[Report, Mapping[str, str]]], node_name: str, hardware_id: str,
                   extra: Mapping[str, str], stamp: Time) -> DiagnosticArray:
    """The report of each camera of the node `node_name`, with figures of its own that go before the report's; `extra`
    figures (model, device, ...) go before all.
    """
    statuses: list[DiagnosticStatus] = []
    if "" in reports:
        report, own = reports[""]
        statuses = _statuses(report, node_name, hardware_id, {**extra, **own})
    elif reports:
        statuses = _several(reports, node_name, hardware_id, extra)
    return DiagnosticArray(header=Header(stamp=stamp), status=statuses)


def _several(reports: Mapping[str, tuple[Report, Mapping[str, str]]], node_name: str, hardware_id: str,
             extra: Mapping[str, str]) -> list[DiagnosticStatus]:
    worst = max(reports, key=lambda name: reports[name][0].worst().level)  # the first of equals
    stage = reports[worst][0].worst()
    of_whom = "" if stage.stage == "model" else f"{worst}: "  # one model serves all
    message = "running" if stage.level == OK else f"{of_whom}{stage.stage}: {stage.message}"
    published = sum(int(report.values["frames published"]) for report, _ in reports.values())
    sums = {"cameras": ", ".join(reports), "frames published": str(published)}
    statuses = [_status(node_name, stage.level, message, hardware_id, {**extra, **sums})]
    for name, (report, own) in reports.items():
        summary, model, *stages = _statuses(report, f"{node_name}: {name}", hardware_id, own)
        if len(statuses) == 1:
            model.name = f"{node_name}: model"
            statuses.append(model)
        statuses += [summary, *stages]
    return statuses


def _statuses(report: Report, name: str, hardware_id: str, extra: Mapping[str, str]) -> list[DiagnosticStatus]:
    """The summary, and each stage in the report's order."""
    worst = report.worst()
    message = "running" if worst.level == OK else f"{worst.stage}: {worst.message}"
    summary = _status(name, worst.level, message, hardware_id, {**extra, **report.values})
    return [summary, *(_status(f"{name}: {stage.stage}", stage.level, stage.message, hardware_id, _since(stage))
                       for stage in report.stages)]


def _since(stage: StageReport) -> dict[str, str]:
    return {} if stage.since_s is None else {"for [s]": f"{stage.since_s:.1f}"}


def _status(name: str, level: int, message: str, hardware_id: str, values: Mapping[str, str]) -> DiagnosticStatus:
    return DiagnosticStatus(name=name, level=_LEVELS[level], message=message, hardware_id=hardware_id,
                            values=[KeyValue(key=key, value=value) for key, value in values.items()])
