"""A fresh process that trains and says what came out: ``python -m benchmarks.contenders.determinism DATA``.

Everything random is in play: first weights, shuffling and dropout come from one seed. The network is large enough for
its step to run on all threads. The last line printed is JSON: the hash of all weights after three epochs, how many
kernels the cache held before and holds after, and on how many threads the step ran.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import ranvier as rv
from benchmarks import mlp, mlp_large


def main(data: str) -> dict[str, object]:
    spec = mlp_large.SPEC
    problem = mlp.load(spec.__dict__, data, most=16 * spec.batch)
    before = cached()
    rv.set_random_seed(7)
    model = rv.Sequential([
        rv.layers.Input((spec.sizes[0],)),
        rv.layers.Dense(spec.sizes[1], activation="relu"),
        rv.layers.Dropout(0.2),
        rv.layers.Dense(spec.sizes[2], activation="relu"),
        rv.layers.Dense(spec.sizes[3]),
    ])  # fmt: skip
    loss = rv.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=rv.optimizers.Adam(1e-3), loss=loss)
    model.fit(problem.x, problem.y, batch_size=spec.batch, epochs=3, verbose=0)
    digest = hashlib.sha256()
    for w in model.get_weights():
        digest.update(w.tobytes())
    (segment,) = next(iter(model._keeper.engine._segments.values()))
    (made,) = segment.step._made.values()
    return {"hash": digest.hexdigest(), "before": before, "after": cached(), "threads": made.executor.threads}


def cached() -> int:
    """Files in the cache of compiled kernels."""
    return sum(path.is_file() for path in Path(os.environ["RANVIER_CACHE_DIR"]).rglob("*"))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
