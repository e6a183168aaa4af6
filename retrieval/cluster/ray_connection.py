"""The way to a Ray cluster that answers those who hold its token, and nobody else.

A Ray cluster runs whatever its clients send it, so whoever reaches it owns it (CVE-2023-48022).
Hence: tokens (``RAY_AUTH_MODE=token``), no public addresses unless asked for, no dashboard, no
usage statistics. Tokens do not encrypt: what leaves the machine belongs on a network of your own.
"""

from __future__ import annotations

import importlib
import ipaddress
import os
import secrets
import socket
from typing import Any

from ...errors import InputError, MissingDependencyError, ShardUnavailableError

LEAST_VERSION = (2, 54)
"""Before, a dashboard took DELETE requests from any web page: CVE-2026-27482."""


def connect(address: str | None, *, public: bool = False) -> tuple[Any, bool]:
    """Ray, connected, and whether this connected it; for the arguments see ``Ray``."""
    for host in () if public or address is None else _hosts(address):
        check_private(host)
    ray = _import_ray(generate_token=address is None)
    connected = not ray.is_initialized()
    if connected:
        _connect(ray, address)
    try:
        _check_address(ray, address)
        _check_tokens()
        for node in [] if public else ray.nodes():
            check_private(node["NodeManagerAddress"])
    except BaseException:
        if connected:
            ray.shutdown()
        raise
    return ray, connected


def is_guarded() -> bool:
    """Whether the node that this runs on asks for tokens."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _import_ray(*, generate_token: bool) -> Any:
    """Ray, imported under the settings that make it take tokens and report to nobody."""
    mode = os.environ.setdefault("RAY_AUTH_MODE", "token")
    if mode.lower() != "token":
        raise InputError(
            f"RAY_AUTH_MODE is {mode!r}: whoever reaches a Ray cluster without tokens can run "
            "what he likes there; unset it, or make it 'token'"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its future default; said now, it warns of nothing and leaves GPUs as they are.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if generate_token and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise MissingDependencyError("ray", "ray") from None
    if tuple(map(int, ray.__version__.split(".")[:2])) < LEAST_VERSION:
        raise MissingDependencyError(f"ray>={'.'.join(map(str, LEAST_VERSION))}", "ray")
    return ray


def _connect(ray: Any, address: str | None) -> None:
    # It may have read its settings before the mode was set.
    importlib.import_module("ray._raylet").Config.initialize("")
    if address is None or "127.0.0.1" in _hosts(address):
        # Ray would put this machine's other address in the place of a loopback one.
        ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    quiet = {"log_to_driver": False, "configure_logging": False}
    try:
        if address is None:
            ray.init(
                address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **quiet
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        where = "a cluster on this machine" if address is None else f"the cluster at {address!r}"
        raise ShardUnavailableError(f"Ray cannot reach {where}: {error}") from error


def _check_address(ray: Any, address: str | None) -> None:
    """Refuse to take another cluster, which this process is connected to, for the one named."""
    if address in (None, "auto"):
        return
    own = str(ray.get_runtime_context().gcs_address)
    (host, _, port), (own_host, _, own_port) = (text.rpartition(":") for text in (address, own))
    if port != own_port or not {host, *_hosts(address)} & {own_host, *_hosts(own)}:
        raise InputError(
            f"this process is connected to Ray at {own} already, not at {address}; a process has "
            "one Ray: ray.shutdown() ends the other",
            field="address",
        )


def _check_tokens() -> None:
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    if not is_token_auth_enabled():
        raise InputError("this process is connected to Ray without tokens; set RAY_AUTH_MODE=token")


def check_private(host: str) -> None:
    """Refuse a host that is not a loopback or private address."""
    ip = ipaddress.ip_address(host)
    if ip.is_unspecified or not ip.is_private:
        raise InputError(
            f"{host} is not a private address; put Ray behind a private network, or pass "
            "public=True where you must",
            field="address",
        )


def _hosts(address: str) -> set[str]:
    """The addresses that HOST:PORT stands for; none for ``auto``, which Ray finds."""
    if address == "auto":
        return set()
    host, colon, _ = address.rpartition(":")
    if not colon or "/" in host:
        raise InputError(
            f"is auto, or HOST:PORT of a cluster that this machine is part of, got {address!r}",
            field="address",
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), None)
    except OSError as error:
        raise InputError(f"{address!r}: {error}", field="address") from None
    return {str(item[4][0]) for item in found}
