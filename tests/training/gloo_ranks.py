"""Run ``function(rank, world_size)`` of a test file in two processes joined by gloo.

``python gloo_ranks.py FILE FUNCTION FOLDER``: what the function returns on a rank is saved in
``FOLDER/<rank>.pt``. A script of its own, because a fresh process cannot import a test module by name.
"""

import os
import runpy
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing

WORLD_SIZE = 2


def run_rank(rank: int, file: str, function: str, folder: str) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD_SIZE)
    torch.save(runpy.run_path(file)[function](rank, WORLD_SIZE), f"{folder}/{rank}.pt")
    # A rank that leaves first would take the other one's connection down with it.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(run_rank, args=tuple(sys.argv[1:4]), nprocs=WORLD_SIZE)
