"""Services whose work the worker does: a response is filled, or says why not. Knows no service and needs no ROS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any

from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.worker import Worker


class Server:
    """Waits for the worker in the thread of the service's callback, never more than service_timeout_s."""

    def __init__(self, worker: Worker, settings: Callable[[], Settings]) -> None:
        self._worker = worker
        self._settings = settings

    def serve(self, errand: Callable[..., Mapping[str, Any]], response: Any,
              about: Callable[[], Any] | None = None) -> Any:
        """The response with the fields that `errand` gives in the worker's thread, or a message saying why not. It is
        given what `about` returns now, not when its turn has come.
        """
        timeout_s = self._settings().service_timeout_s
        try:
            if about is not None:
                errand = partial(errand, about())
            fill(response, self._worker.call(errand, timeout_s))
        except FutureTimeoutError:
            response.message = (f"no answer within service_timeout_s = {timeout_s:g} s, since the model is busy or "
                                "being loaded; /diagnostics tells which; ask again, or raise service_timeout_s")
        except Exception as error:  # the boundary of the service: the caller hears of it
            explain(response, error)
        return response


def fill(response: Any, values: Mapping[str, Any]) -> None:
    """The fields of a response, which succeeded unless they say otherwise."""
    for name, value in {"success": True, **values}.items():
        setattr(response, name, value)


def explain(response: Any, error: BaseException) -> None:
    """The fields of a response that did not."""
    response.success, response.message = False, str(error) or repr(error)
