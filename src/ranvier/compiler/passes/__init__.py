"""The compiler's passes, in the order a graph goes through them: simplify, lower, layout, fuse."""
