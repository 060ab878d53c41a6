"""Benchmarks: Ranvier beside its peers, measured in one run.

``python -m benchmarks`` (or ``make bench``) runs every workload, keeps the records in ``benchmarks/results.json`` and
writes ``benchmarks/results.md`` from them. One workload a file; each says what is timed and which bar it must meet. How
the timing is done is in ``harness.py``; how each framework's loop is written is in ``contenders/``. Nothing here is
part of the package, and no test asserts a time.
"""
