"""The process that is XRay: `python -m privacy_router.hops.xray.runner CONFIG_FILE`.

An `xray` program on PATH is preferred; else the library of the Python package Xray-core runs in
this process. Imports the standard library only: XRay's own memory is the whole price.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys

from privacy_router.errors import (
    ExitCode,
    InvalidError,
    MissingPrerequisiteError,
    PrivacyRouterError,
    StorageError,
)

CONFIG_LIMIT_BYTES = 1024 * 1024
REJECTED_EXIT_CODE = 23
"""How XRay itself exits when it does not like its configuration; it may say nothing else."""


class XrayConfigError(InvalidError):
    """The file is not a configuration for XRay."""


def main(arguments: list[str]) -> int:
    """Become XRay; returns an exit code only when that fails."""
    if len(arguments) != 1:
        print("usage: python -m privacy_router.hops.xray.runner CONFIG_FILE", file=sys.stderr)
        return ExitCode.INVALID_CONFIG
    try:
        _run(arguments[0])
    except PrivacyRouterError as error:
        print(f"{error.message}; {error.remedy}", file=sys.stderr)
        return error.exit_code
    return ExitCode.FAILURE


def _run(path: str) -> None:
    text = read_config(path)
    check_shape_untrusted(text)
    program = shutil.which("xray")
    if program is not None:
        os.execv(program, [program, "run", "-c", path])  # noqa: S606
    try:
        import xray
    except ImportError as error:
        raise MissingPrerequisiteError(
            "there is no XRay on this machine",
            remedy="put the program xray on PATH, or install the Python package Xray-core",
        ) from error
    # Python's own handler would never run: its interpreter stays inside XRay's main loop.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    xray.startFromJSON(text)


def read_config(path: str) -> str:
    """The text of a private configuration file.

    Raises StorageError when it cannot be read, others may read it, or it is over 1 MiB.
    """
    remedy = "let privacy-router write it again (privacy-router up)"
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # light
            status = os.fstat(file.fileno())
            text = file.read(CONFIG_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {_reason(error)}", remedy=remedy) from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StorageError(
            f"{path} holds keys and others may read it", remedy=f"chmod 600 {path}, or {remedy}"
        )
    if len(text) > CONFIG_LIMIT_BYTES:
        raise StorageError(f"{path} is over {CONFIG_LIMIT_BYTES} bytes", remedy=remedy)
    return text


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8"


def check_shape_untrusted(text: str) -> None:
    """Check what XRay would die of without a word. Raises XrayConfigError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_a_config("it is not JSON") from error
    if not isinstance(document, dict):
        raise _not_a_config("it is not a JSON object")
    for key in ("inbounds", "outbounds"):
        entries = document.get(key)
        if not isinstance(entries, list) or not entries:
            raise _not_a_config(f"{key} is not a list with entries")
        if not all(isinstance(e, dict) and isinstance(e.get("protocol"), str) for e in entries):
            raise _not_a_config(f"an entry of {key} has no protocol")


def _not_a_config(why: str) -> XrayConfigError:
    return XrayConfigError(
        f"the configuration for XRay is broken: {why}",
        remedy="let privacy-router write it again (privacy-router up)",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
