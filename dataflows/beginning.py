"""How the process of a flow begins: its settings, its recovery store, its signals; or one line that says why not."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from dataflows.ending import StartError
from dataflows.process import Process
from dataflows.recovery import claim, process_id, recovery_directory
from dataflows.settings import SettingsError
from dataflows.warm_up import let_the_collector_rest

P = TypeVar("P", bound=Process)

BAD_SETTING = 2


def begin(name: str, make: Callable[[], P]) -> P:
    """Return the process of a flow, which holds its recovery store and answers signals; or end with status 2.

    Args:
        name: Of the flow, for the one line.
        make: Makes the process of the settings in the environment.
    """
    try:
        process = make()
        store = recovery_directory(sys.argv, os.environ)
        if store is not None:
            process.store_lock = claim(store, process_id(sys.argv, os.environ))
    except (SettingsError, StartError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        raise SystemExit(BAD_SETTING) from None
    process.ending.take_over()
    let_the_collector_rest()
    return process
