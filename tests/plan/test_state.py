"""The difference between what should be and what is."""

from hypothesis import given
from hypothesis import strategies as st

from privacy_router.pipeline.flow import MeterKey
from privacy_router.values.items import ItemValue, Key, Kind, diff
from privacy_router.values.network import DeviceKey, ForeignKey, NamespaceKey
from privacy_router.values.sysctls import SettingKey, SettingValue, Sysctl
from privacy_router.values.wireguard import TunnelKey

PLACES, NAMES = st.sampled_from(["a", "b"]), st.text(max_size=2)
KEYS = st.one_of(
    st.builds(NamespaceKey, PLACES),
    st.builds(SettingKey, PLACES, st.builds(Sysctl, NAMES, NAMES)),
    st.builds(DeviceKey, PLACES, NAMES),
    st.builds(TunnelKey, PLACES, NAMES),
    st.builds(ForeignKey, PLACES, NAMES),
    st.builds(MeterKey, PLACES, st.integers(1, 20)),
)
VALUES = st.builds(SettingValue, st.sampled_from("0123"))
STATES = st.dictionaries(KEYS, VALUES, max_size=12)


@given(STATES, STATES)
def test_making_all_changes_turns_the_observed_into_the_desired(
    desired: dict[Key, ItemValue], observed: dict[Key, ItemValue]
) -> None:
    state = dict(observed)
    for change in diff(desired, observed):
        assert state.get(change.key) == change.before
        if change.after is None:
            del state[change.key]
        else:
            state[change.key] = change.after
    assert state == desired


@given(STATES)
def test_no_difference_is_no_change(state: dict[Key, ItemValue]) -> None:
    assert diff(state, state) == []


@given(STATES, STATES)
def test_things_come_in_the_order_of_their_kinds_and_go_the_other_way_round(
    desired: dict[Key, ItemValue], observed: dict[Key, ItemValue]
) -> None:
    changes = diff(desired, observed)
    going = [change.key.kind for change in changes if change.after is None]
    coming = [change.key.kind for change in changes if change.after is not None]
    assert going == sorted(going, reverse=True)
    assert coming == sorted(coming)
    assert changes[: len(going)] == [change for change in changes if change.after is None]


def test_a_namespace_forbids_before_its_first_device_is_there() -> None:
    assert max(Kind.FIREWALL, Kind.RULE, Kind.SETTING) < min(Kind.DEVICE, Kind.TUNNEL)
