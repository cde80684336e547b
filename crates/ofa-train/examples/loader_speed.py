"""torchvision's ImageFolder and DataLoader(num_workers=2) on the files of `loader_speed.rs`: images a second.

    python loader_speed.py FOLDER [SIDE] [IMAGES]

FOLDER is the same as for the example: its `train/` is read if it has one. Images of SIDE pixels are shifted by up to 3
pixels and mirrored, others cropped at random (area from 8 %) and mirrored, as the example does; both end as normalised
float tensors in batches of 64.
"""

import sys
import time
from pathlib import Path

import torch
from torchvision import datasets, transforms

folder = Path(sys.argv[1])
side = int(sys.argv[2]) if len(sys.argv) > 2 else 32
images = int(sys.argv[3]) if len(sys.argv) > 3 else 10_000
root = folder / "train" if (folder / "train").is_dir() else folder
first = datasets.ImageFolder(root)[0][0]
small = first.size == (side, side)
geometry = transforms.RandomCrop(side, padding=3) if small else transforms.RandomResizedCrop(side, scale=(0.08, 1.0))
normalise = transforms.Normalize((0.4913, 0.4821, 0.4465), (0.2452, 0.2428, 0.2606))
transform = transforms.Compose([geometry, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
dataset = datasets.ImageFolder(root, transform)
torch.set_num_threads(1)
loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True, num_workers=2, persistent_workers=True)


def run(limit):
    read = 0
    while True:
        for batch, _ in loader:
            read += len(batch)
            if read >= limit:
                return read


run(256)  # the workers start
started = time.perf_counter()
read = run(images)
seconds = time.perf_counter() - started
print(f"torchvision, 2 workers: {read} images in {seconds:.2f} s, {read / seconds:.0f} images/s")
