"""A simulated bank: customers with habits, and attacks among them, as a labelled stream or as weeks of history.

Pure and seeded: the same configuration, seed, rate and start give the same stream to the byte.
"""

from model.simulator.config import SimulatorConfig, another_world
from model.simulator.history import History, history
from model.simulator.stream import Bank, SimulatedEvent, frame_of, simulate

__all__ = ["Bank", "History", "SimulatedEvent", "SimulatorConfig", "another_world", "frame_of", "history", "simulate"]
