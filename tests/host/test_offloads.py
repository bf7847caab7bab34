"""Whether a device's driver computes checksums, as the kernel says."""

from __future__ import annotations

from privacy_router.host.offloads import offloads_checksums


def test_the_loopback_leaves_out_checksums() -> None:
    assert offloads_checksums("lo") is True  # always so: NETIF_F_HW_CSUM, loopback_setup()


def test_there_is_none_of_a_device_that_is_not_there() -> None:
    assert offloads_checksums("no-such-dev") is None
