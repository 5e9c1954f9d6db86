"""What can be said of ``resources.ray`` before a run starts: is Ray installed, do the settings fit, does one answer.

Imports no Ray. Whether the cluster holds what is asked for is known only in a stage's process.
"""

from __future__ import annotations

import importlib.util
import socket

from engine.config.run import RunConfig
from engine.errors import BackendError, ConfigError

ANSWER_S = 5.0


def check_ray(config: RunConfig) -> None:
    """Refuse a run that asks for Ray where it is not installed or does not answer, or for GPUs without a device.

    Raises:
        BackendError, ConfigError: name the key and the way out.
    """
    ray, device = config.resources.ray, config.resources.device
    if ray.address is None:
        return
    if "://" in ray.address:
        raise ConfigError(
            f"resources.ray.address = {ray.address}: Ray's client protocol streams no batches back",
            hint="start the run on a node of the cluster and use auto, or HOST:PORT of its head",
            key="resources.ray.address",
            value=ray.address,
        )
    if importlib.util.find_spec("ray") is None:
        raise BackendError(
            f"resources.ray.address = {ray.address}, and Ray is not installed here",
            hint="install it on every node: pip install 'cream-tui[ray]'; or leave resources.ray.address out",
        )
    if (device == "cpu" and ray.gpus_per_actor) or (device == "cuda" and not ray.gpus_per_actor):
        raise ConfigError(
            f"resources.ray.gpus_per_actor = {ray.gpus_per_actor} does not fit resources.device = {device}",
            hint="use gpus_per_actor 0 for cpu, at least 1 for cuda",
            key="resources.ray.gpus_per_actor",
            value=ray.gpus_per_actor,
        )
    check_address(ray.address)


def check_address(address: str) -> None:
    """Refuse a HOST:PORT where nothing listens: Ray itself tries for five minutes before it says so.

    Raises:
        BackendError, ConfigError: nothing answers, or the address has no port.
    """
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"resources.ray.address = {address} is neither local, auto nor HOST:PORT",
            key="resources.ray.address",
            value=address,
        )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise BackendError(
            f"resources.ray.address = {address}: nothing answers there ({error})",
            hint="start the cluster first: ray start --head --port=6379",
        ) from error
