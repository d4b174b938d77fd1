"""How fast this machine is, from what was measured before, or measured now."""

from collections.abc import Callable

import torch

from lcdoc.engine.calibration import (
    Calibration,
    Machine,
    calibrate,
    load_calibration,
    store_calibration,
)
from lcdoc.models.folders import calibrations_folder


def known_calibration(
    device: torch.device, dtype: torch.dtype, say: Callable[[str], None], *, recalibrate: bool = False
) -> Calibration:
    """What is known of this machine, measured now where nothing is. say hears what takes time."""
    folder, machine = calibrations_folder(), Machine.this(device, dtype)
    known = None if recalibrate else load_calibration(folder, machine)
    if known is not None:
        return known
    say(f"measuring how fast {machine.device} computes in {machine.dtype}, once: a few seconds")
    measured = calibrate(device, dtype)
    try:
        store_calibration(folder, measured)
    except OSError as error:
        say(f"the measurement can't be kept in {folder}: {error.strerror}")
    return measured
