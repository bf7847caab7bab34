"""Messages by the hundred thousand: batches with a barrier, and bundles in one step.

Source: OpenFlow 1.3.5, 7.3.8, and ONF EXT-230 (bundles).
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from privacy_router.openflow.batch import Batch
from privacy_router.openflow.bundle import BundleControl
from privacy_router.openflow.exchange import Exchange
from privacy_router.openflow.messages import BarrierRequest
from privacy_router.openflow.onf import BundleControlType
from privacy_router.openflow.refusal import SwitchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from privacy_router.openflow.message import Message

_BATCH_MESSAGES: Final = 256


class Programming(Exchange):
    """An open connection over which many messages go at once."""

    def __init__(self, timeout_s: float, keepalive_s: float | None = None) -> None:
        super().__init__(timeout_s, keepalive_s)
        self._last_bundle_id = 0

    async def apply(self, messages: Sequence[Message], timeout_s: float | None = None) -> None:
        """Send messages in order and wait until the switch has worked through them.

        Not atomic: what is in force after a SwitchError is everything but the refused ones. For
        meters, which no bundle takes.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        batch = self._new_batch(messages)
        with self._watched(batch):
            await self._send_batch(batch, limit_s)
            await self.request(BarrierRequest(), limit_s)
        batch.check()

    async def apply_bundle(
        self,
        messages: Sequence[Message],
        timeout_s: float | None = None,
        *,
        before: Sequence[Message] = (),
        committing: Callable[[], None] | None = None,
    ) -> None:
        """All messages in order, in one step, or none of them (ONF EXT-230).

        What no bundle takes and the messages need (meters) goes in `before`, and stays in force
        also when the bundle is refused. `committing` is called when the last step was sent: what it
        asks is answered as of after that step. All else goes in one piece, so that the whole takes
        two answers of the switch, however many messages there are.

        Raises SwitchError with the first message that was refused; what was in force stays.
        `timeout_s` bounds each wait, not the whole. After a RequestTimeoutError or
        ConnectionLostError during the last step it is not known which it was: all or none.
        """
        if not messages:
            if before:
                await self.apply(before, timeout_s)
            return
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        self._last_bundle_id += 1
        bundle_id = self._last_bundle_id
        outside = self._new_batch(before)
        with self._watched(outside):
            await self._send_batch(outside, limit_s)
            opened = self._send_question(BundleControl(bundle_id, BundleControlType.OPEN_REQUEST))
            batch = self._new_batch(messages, bundle_id)
            with self._watched(batch):
                try:
                    await self._fill(bundle_id, opened, outside, batch, limit_s)
                except BaseException:
                    self._discard(bundle_id)
                    raise
                finally:
                    self._asked.pop(opened, None)
                await self._commit(bundle_id, batch, limit_s, committing)

    async def _fill(
        self, bundle_id: int, opened: int, outside: Batch, batch: Batch, limit_s: float
    ) -> None:
        try:
            await self._send_batch(batch, limit_s)
            # Its answer comes after every refusal of a message: a commit would ignore those.
            closed = BundleControl(bundle_id, BundleControlType.CLOSE_REQUEST)
            await self.request(closed, limit_s)
            batch.check()
        except SwitchError:
            outside.check()  # the refusals that came first, and brought about the others
            await self._answered(opened, limit_s)
            raise
        outside.check()
        await self._answered(opened, limit_s)

    async def _commit(
        self,
        bundle_id: int,
        batch: Batch,
        limit_s: float,
        committing: Callable[[], None] | None,
    ) -> None:
        asked = self._send_question(BundleControl(bundle_id, BundleControlType.COMMIT_REQUEST))
        if committing is not None:
            committing()
        try:
            await self._answered(asked, limit_s)
        except SwitchError:
            batch.check()  # the refusal that names the message, when there was one
            raise

    def _discard(self, bundle_id: int) -> None:
        if not self.closed:
            self.send(BundleControl(bundle_id, BundleControlType.DISCARD_REQUEST))

    def _new_batch(self, messages: Sequence[Message], bundle_id: int | None = None) -> Batch:
        self._require_open()
        return Batch(messages, self._connection.reserve_xids(len(messages)), bundle_id)

    @contextmanager
    def _watched(self, batch: Batch) -> Iterator[None]:
        self._batches.append(batch)
        try:
            yield
        finally:
            self._batches.remove(batch)

    async def _send_batch(self, batch: Batch, limit_s: float) -> None:
        for start in range(0, len(batch.messages), _BATCH_MESSAGES):
            self._connection.send_encoded(batch.encoded(start, start + _BATCH_MESSAGES))
            self._flush()
            await asyncio.sleep(0)  # let refusals in, whether or not the switch keeps up
            await self._drain(limit_s)
            if batch.bundle_id is not None:
                batch.check()

    async def barrier(self, timeout_s: float | None = None) -> None:
        """Wait until the switch has worked through everything sent before."""
        await self.request(BarrierRequest(), timeout_s)
