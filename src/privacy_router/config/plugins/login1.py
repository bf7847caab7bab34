"""`plugins.login1`: what the login manager does.

The keys are those of logind.conf(5), written as the rest of the document is.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, Strict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from privacy_router.config.sections import Section
from privacy_router.config.values import Expected, Flag, Identifier, Mode, Sentence

_SECONDS_MAX = 10**9

UserName = Annotated[
    str,
    StringConstraints(
        strict=True, min_length=1, max_length=32, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\$?$"
    ),
    Expected("the name of a user, not a number"),
]
Action = Annotated[
    Literal[
        "ignore",
        "poweroff",
        "reboot",
        "halt",
        "kexec",
        "suspend",
        "hibernate",
        "hybrid-sleep",
        "suspend-then-hibernate",
        "lock",
        "factory-reset",
    ],
    Expected(
        "ignore, poweroff, reboot, halt, kexec, suspend, hibernate, hybrid-sleep,"
        " suspend-then-hibernate, lock or factory-reset"
    ),
]
Seconds = Annotated[
    int, Strict(), Field(ge=0, le=_SECONDS_MAX), Expected("a number of seconds, 0 to 1000000000")
]
SecondsOrNever = Annotated[
    Annotated[int, Strict(), Field(ge=1, le=_SECONDS_MAX)] | Literal["infinity"],
    Expected("a number of seconds, 1 to 1000000000, or infinity"),
]


class ActionItem(Section):
    """An action, and what is done about another one."""

    value: Action = Field(description="What the login manager does.")
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")


class FlagItem(Section):
    """A switch, and what is done about it when it is otherwise."""

    value: Flag = Field(description="Whether the login manager does so.")
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")


class SecondsItem(Section):
    """A time, and what is done about another one."""

    value: Seconds = Field(description="The time in seconds.")
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")


class SecondsOrNeverItem(Section):
    """A time or never, and what is done about another one."""

    value: SecondsOrNever = Field(description="The time in seconds, or infinity.")
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")


_OR_ITEM = 'or {"value": ..., "mode": "observe-only"} with such a value'

ActionSetting = Annotated[
    Action | ActionItem,
    Expected(
        "an action (ignore, poweroff, reboot, halt, kexec, suspend, hibernate, hybrid-sleep,"
        f" suspend-then-hibernate, lock or factory-reset), {_OR_ITEM}"
    ),
]
FlagSetting = Annotated[Flag | FlagItem, Expected(f"true or false, {_OR_ITEM}")]
SecondsSetting = Annotated[
    Seconds | SecondsItem, Expected(f"a number of seconds, 0 to 1000000000, {_OR_ITEM}")
]
SecondsOrNeverSetting = Annotated[
    SecondsOrNever | SecondsOrNeverItem,
    Expected(f"a number of seconds, 1 to 1000000000, or infinity, {_OR_ITEM}"),
]


class KeysConfig(Section):
    """Settings of logind.conf(5); what is null is left alone."""

    handle_lid_switch: ActionSetting | None = Field(
        None, description="What closing the lid does (HandleLidSwitch)."
    )
    handle_lid_switch_external_power: ActionSetting | None = Field(
        None, description="The same on external power (HandleLidSwitchExternalPower)."
    )
    handle_lid_switch_docked: ActionSetting | None = Field(
        None, description="The same in a dock or with two displays (HandleLidSwitchDocked)."
    )
    handle_power_key: ActionSetting | None = Field(
        None, description="What the power key does (HandlePowerKey)."
    )
    handle_power_key_long_press: ActionSetting | None = Field(
        None, description="What holding it for 5 s does (HandlePowerKeyLongPress)."
    )
    handle_reboot_key: ActionSetting | None = Field(
        None, description="What the reboot key does (HandleRebootKey)."
    )
    handle_reboot_key_long_press: ActionSetting | None = Field(
        None, description="What holding it for 5 s does (HandleRebootKeyLongPress)."
    )
    handle_suspend_key: ActionSetting | None = Field(
        None, description="What the suspend key does (HandleSuspendKey)."
    )
    handle_suspend_key_long_press: ActionSetting | None = Field(
        None, description="What holding it for 5 s does (HandleSuspendKeyLongPress)."
    )
    handle_hibernate_key: ActionSetting | None = Field(
        None, description="What the hibernate key does (HandleHibernateKey)."
    )
    handle_hibernate_key_long_press: ActionSetting | None = Field(
        None, description="What holding it for 5 s does (HandleHibernateKeyLongPress)."
    )
    idle_action: ActionSetting | None = Field(
        None, description="What happens when all sessions are idle (IdleAction)."
    )
    idle_action_s: SecondsSetting | None = Field(
        None, description="After how many seconds of idleness (IdleActionSec)."
    )
    kill_user_processes: FlagSetting | None = Field(
        None, description="Whether a user's processes end with the session (KillUserProcesses)."
    )
    remove_ipc: FlagSetting | None = Field(
        None, description="Whether IPC objects go when their user has logged out (RemoveIPC)."
    )
    user_stop_delay_s: SecondsOrNeverSetting | None = Field(
        None,
        description="Seconds that a user's manager goes on after the last session"
        " (UserStopDelaySec).",
    )
    stop_idle_session_s: SecondsOrNeverSetting | None = Field(
        None, description="Seconds after which an idle session is ended (StopIdleSessionSec)."
    )
    inhibit_delay_max_s: SecondsSetting | None = Field(
        None, description="Seconds that a delay lock may hold things up (InhibitDelayMaxSec)."
    )
    holdoff_timeout_s: SecondsSetting | None = Field(
        None,
        description="Seconds after boot and resume in which the lid is not looked at"
        " (HoldoffTimeoutSec).",
    )


What = Annotated[
    Literal[
        "shutdown",
        "sleep",
        "idle",
        "handle-power-key",
        "handle-suspend-key",
        "handle-hibernate-key",
        "handle-lid-switch",
        "handle-reboot-key",
    ],
    Expected(
        "shutdown, sleep, idle, handle-power-key, handle-suspend-key, handle-hibernate-key,"
        " handle-lid-switch or handle-reboot-key"
    ),
]


class InhibitorConfig(Section):
    """A lock that op-dbus holds."""

    name: Identifier = Field(description="Name of the lock; the list of locks shows it.")
    what: Annotated[tuple[What, ...], Field(min_length=1, max_length=8)] = Field(
        description="What it keeps from happening."
    )
    lock_mode: Annotated[Literal["block", "delay"], Expected("block or delay")] = Field(
        "block",
        description="Whether that is kept from happening (block), or held up for a few seconds"
        " (delay; for shutdown and sleep only).",
    )
    why: Annotated[
        Sentence, Field(min_length=1), Expected("one line of 1 to 200 printable characters")
    ] = Field(description="Why, for the user who is kept waiting.")
    mode: Mode = Field("enforce", description="Whether it is taken, or only reported.")

    @model_validator(mode="after")
    def _can_be_delayed(self) -> Self:
        if self.lock_mode == "delay" and not {"shutdown", "sleep"}.issuperset(self.what):
            raise PydanticCustomError(
                "expected", 'lock_mode "block": nothing but shutdown and sleep can be delayed'
            )
        return self


class UserConfig(Section):
    """A user of the machine."""

    name: UserName = Field(description="Name of the user.")
    linger: Flag = Field(
        description="Whether the user's services run without a session, from boot on."
    )
    mode: Mode = Field("enforce", description="Whether it is kept so, or only reported.")


_Named = TypeVar("_Named", InhibitorConfig, UserConfig)


def _distinct(items: tuple[_Named, ...]) -> tuple[_Named, ...]:
    names = [item.name for item in items]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PydanticCustomError("expected", "names that differ; twice there: " + twice[0])
    return items


class Login1Config(Section):
    """The login manager."""

    keys: KeysConfig = Field(
        KeysConfig(), description="Keys, lid, idleness: settings of logind.conf."
    )
    inhibitors: Annotated[
        tuple[InhibitorConfig, ...],
        Field(max_length=64),
        AfterValidator(_distinct),
    ] = Field((), description="Locks that op-dbus holds as long as this is declared.")
    users: Annotated[tuple[UserConfig, ...], Field(max_length=1024), AfterValidator(_distinct)] = (
        Field((), description="Users whose services run without a session, or do not.")
    )
