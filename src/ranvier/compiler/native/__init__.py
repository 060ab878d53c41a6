"""Machine code: specs of kernels, the code they become, and the driver that runs them.

A spec (a dataclass: ``nest``, ``contraction``, ``scatter``, ``sort`` and others) is plain data; it writes its kernel in
the language of ``builder``, with ``emit`` and ``vmath`` for the arithmetic. ``engine`` compiles, ``cache`` keeps,
``runtime`` runs.
"""
