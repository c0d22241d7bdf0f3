"""Exact nearest neighbours in tiles (evaluation/neighbours.py) against faiss's exact search by inner product.

    python benchmarks/nearest_speed.py [ROUNDS]

Top 50 of 10,000 rows for 4,000 queries of 1,024 numbers, unit length, on one thread each; CPU time, interleaved. Both must find
the same, and ours must be the whole product's, sorted, to the bit.
"""

from __future__ import annotations

import sys

import faiss
import torch
from measuring import interleaved, matmul_gflops, table
from torch.nn.functional import normalize

from cprspec.evaluation.neighbours import nearest, score_rows

QUERIES, GALLERY, SIZE, TOP = 4000, 10_000, 1024, 50


def main() -> None:
    """Run the rounds and print the table."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    torch.manual_seed(0)
    query_QF, gallery_GF = (normalize(torch.randn(rows, SIZE)) for rows in (QUERIES, GALLERY))
    index = faiss.IndexFlatIP(SIZE)
    index.add(gallery_GF.numpy())

    found = nearest(query_QF, gallery_GF, TOP)
    whole = torch.cat([scores for _, scores in score_rows(query_QF, gallery_GF)]).sort(descending=True, stable=True)
    same = torch.equal(found.row_Qk, whole.indices[:, :TOP]) and torch.equal(found.score_Qk, whole.values[:, :TOP])
    theirs = torch.from_numpy(index.search(query_QF.numpy(), TOP)[1])
    first, every = ((found.row_Qk[:, :k] == theirs[:, :k]).float().mean() for k in (1, TOP))
    print(f"equal to the sorted product: {same}; as faiss: first {first:.6f}, at its place among {TOP} {every:.6f}")

    ways = {
        "faiss IndexFlatIP": lambda: index.search(query_QF.numpy(), TOP),
        "nearest": lambda: nearest(query_QF, gallery_GF, TOP),
        "torch's product alone": lambda: query_QF @ gallery_GF.T,
    }
    seconds = interleaved(ways, rounds)
    table(seconds, "faiss IndexFlatIP")
    rate = 2e-9 * QUERIES * GALLERY * SIZE / sorted(seconds["nearest"])[rounds // 2]
    print(f"nearest: {100 * rate / matmul_gflops(torch.float32):.0f} % of matrix products' rate")


if __name__ == "__main__":
    main()
