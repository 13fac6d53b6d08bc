"""A status report as diagnostic_msgs/DiagnosticArray: one summary with one clear message, and one entry a stage."""

from __future__ import annotations

from collections.abc import Mapping

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from kyvo_ros.ros.status import ERROR, OK, WARN, Report, StageReport

_LEVELS = {OK: DiagnosticStatus.OK, WARN: DiagnosticStatus.WARN, ERROR: DiagnosticStatus.ERROR}


def report_to_msg(report: Report, node_name: str, hardware_id: str, extra: Mapping[str, str],
                  stamp: Time) -> DiagnosticArray:
    """The report of the node `node_name`; `extra` values (model, device, ...) go before the figures of the summary."""
    worst = report.worst()
    message = "running" if worst.level == OK else f"{worst.stage}: {worst.message}"
    summary = _status(node_name, worst.level, message, hardware_id, {**extra, **report.values})
    stages = [_status(f"{node_name}: {stage.stage}", stage.level, stage.message, hardware_id, _since(stage))
              for stage in report.stages]
    return DiagnosticArray(header=Header(stamp=stamp), status=[summary, *stages])


def _since(stage: StageReport) -> dict[str, str]:
    return {} if stage.since_s is None else {"for [s]": f"{stage.since_s:.1f}"}


def _status(name: str, level: int, message: str, hardware_id: str, values: Mapping[str, str]) -> DiagnosticStatus:
    return DiagnosticStatus(name=name, level=_LEVELS[level], message=message, hardware_id=hardware_id,
                            values=[KeyValue(key=key, value=value) for key, value in values.items()])
