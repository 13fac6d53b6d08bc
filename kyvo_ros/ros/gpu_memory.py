"""The memory of the GPU that the model runs on. Imports no torch, which whoever runs a model has done; needs no ROS."""

from __future__ import annotations

import sys

_MIB = 1024 ** 2


def memory_figures(device: str) -> dict[str, str]:
    """What torch has allocated and reserved in this process, and what the GPU has free (also of other processes) and in
    total, for the diagnostics, in MiB; empty unless `device` is one of CUDA, such as cuda:0.
    """
    torch = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None:
        return {}
    try:
        index = int(device.partition(":")[2] or torch.cuda.current_device())
        free, total = torch.cuda.mem_get_info(index)
        found = {"allocated": torch.cuda.memory_allocated(index), "reserved": torch.cuda.memory_reserved(index),
                 "free": free, "total": total}
    except RuntimeError as error:  # after a fault of the GPU, which the stage that meets it reports
        return {"GPU memory": f"cannot be asked for ({error}); start the node again"}
    return {f"GPU memory {name} [MiB]": f"{size / _MIB:.0f}" for name, size in found.items()}
