"""The random generators that dropout on a device is drawn from."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def generators(device: torch.device) -> dict[str, torch.Tensor]:
    """Their states: that of ``cpu``, and of ``cuda`` where the device is one."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_generators(device: torch.device, states: Mapping[str, torch.Tensor]) -> None:
    """Go on drawing from these states; a generator that has none here stays as it is."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
