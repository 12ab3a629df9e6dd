"""A simulated bank: customers with habits, and attacks among them, as a labelled stream of events.

Pure and seeded: the same configuration, seed, rate and start give the same stream to the byte.
"""

from model.simulator.config import SimulatorConfig
from model.simulator.stream import Bank, SimulatedEvent, frame_of, simulate

__all__ = ["Bank", "SimulatedEvent", "SimulatorConfig", "frame_of", "simulate"]
