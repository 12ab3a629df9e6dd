"""`python -m dataflows.demo`: the whole service on one machine, to look at; what `make run` starts."""
