"""The compiler: a traced graph in, one native call out. Files and folders stand in the order a graph passes through.

``trace`` records a function, ``graph`` holds it, ``passes`` bring it to kernels, ``plan`` orders them and gives every
value its place, ``native`` makes machine code, ``bind`` and ``execute`` run it. ``pipeline`` is the list of passes.
"""
