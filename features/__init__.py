"""Event time and session features, pure: no engine, no broker, no store, no clock.

The same code runs in the live flow, in training and when a flag is explained.
"""
