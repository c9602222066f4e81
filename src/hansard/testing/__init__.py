"""For tests of code that uses a store: scenarios, a frozen store, state machines, replays on branches; fixtures in `plugin`.

And what holds engines to the contract: builders, invariants, the contract kit, the race simulator. These need pytest.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hansard.testing.frozen import FrozenClock as FrozenClock
    from hansard.testing.frozen import FrozenStore as FrozenStore
    from hansard.testing.frozen import frozen_ids as frozen_ids
    from hansard.testing.machine import state_machine as state_machine
    from hansard.testing.replaying import Replayed as Replayed
    from hansard.testing.replaying import replay as replay
    from hansard.testing.scenarios import scenario as scenario

_MODULE_OF = {
    "FrozenClock": "frozen",
    "FrozenStore": "frozen",
    "frozen_ids": "frozen",
    "state_machine": "machine",
    "Replayed": "replaying",
    "replay": "replaying",
    "scenario": "scenarios",
}

__all__ = [*_MODULE_OF]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Imported when first used: hypothesis and pytest are asked for only by those who use them."""
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module 'hansard.testing' has no attribute {name!r}")
    return getattr(import_module(f"hansard.testing.{_MODULE_OF[name]}"), name)
