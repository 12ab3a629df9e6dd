"""Proof that the service is exact after any crash: faults under load, judged by a separate plain oracle.

`python -m tests.crash` runs the flow as a process on a real or an embedded Kafka, does something bad to it or to what
it depends on while a seeded stream comes in, and then compares everything that it wrote with what `tests.crash.oracle`
expects. It must never pass by not running: every fault asserts that it really happened.
"""
