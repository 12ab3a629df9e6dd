"""The shell: what reads, writes, knows the clock and the environment. Start with `dataflows/fraud.py`."""
