"""What can go wrong between this library and a switch."""

from __future__ import annotations

from privacy_router.errors import PrivacyRouterError


class OpenFlowError(PrivacyRouterError):
    """The root of every error that this package raises."""


class DecodeError(OpenFlowError):
    """Bytes from the peer are not OpenFlow 1.3."""


class LimitError(DecodeError):
    """The peer sends, or has us send, more than is kept for it; the connection ends."""


class EncodeError(OpenFlowError, ValueError):
    """A message has a value that its place on the wire cannot hold."""


class NegotiationError(OpenFlowError):
    """The peer does not speak OpenFlow 1.3, or does not greet."""


class ConnectionLostError(OpenFlowError):
    """The connection could not be made, or ended before an answer came."""


class RequestTimeoutError(OpenFlowError):
    """The switch did not answer in time. Whether it did the work is not known."""
