"""The `ovs` library, as a program without eventlet uses it.

Its poller looks for eventlet and imports it where it is installed, which takes longer than all the
rest and changes nothing for a program that does not use it.
"""

from __future__ import annotations

import sys

_ABSENT = "eventlet" not in sys.modules
if _ABSENT:
    sys.modules["eventlet"] = None  # type: ignore[assignment] # "not installed", to an import
try:
    import ovs.db.data as data
    import ovs.db.idl as idl
    import ovs.jsonrpc as jsonrpc
    import ovs.poller as poller
finally:
    if _ABSENT:
        del sys.modules["eventlet"]

__all__ = ["data", "idl", "jsonrpc", "poller"]
