"""The sides of each comparison: one file a framework, each written as its experts would write it.

A contender is a class that lives in its own process (see ``worker.py``): its constructor loads data, builds and warms
up; ``run(n)`` does at least ``n`` units of work and returns ``(seconds, units)``. Classes that train also have
``trained()``: the loss after one epoch from the common weights in the common order, with which
``python -m benchmarks --check`` proves that all of them do the same sums.
"""
