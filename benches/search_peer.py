"""The peers of search_vs_reference: PyTorch's batched MLP and NumPy's table gather. Arguments: predictor, threads."""

import sys
import time

import numpy as np
import torch

path, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
state = torch.load(path, map_location="cpu")
state = state.get("state_dict", state)
layers = []
for index in (0, 2, 4, 6):
    weight = state[f"{index}.weight"]
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": state[f"{index}.bias"]})
    layers += [layer, torch.nn.ReLU()]
model = torch.nn.Sequential(*layers[:-1]).eval()


def rate(run, count):
    run()
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        run()
        best = max(best, count / (time.perf_counter() - started))
    return best


best = (0.0, 0)
with torch.no_grad():
    for batch in (64, 128, 256, 512, 1024, 4096, 16384):
        features = (torch.rand(batch, 128) < 0.3).float()
        repeats = max(1, 65536 // batch)

        def forward():
            for _ in range(repeats):
                model(features)

        best = max(best, (rate(forward, batch * repeats), batch))
print(f"  PyTorch MLP, encoding excluded     {best[0]:>12.0f}   (batch {best[1]})")

tables = np.random.rand(20, 10)
choices = np.random.randint(0, 10, (100_000, 20))
positions = np.arange(20)
gathered = rate(lambda: tables[positions, choices].sum(axis=1), len(choices))
print(f"  NumPy gather and sum, one thread   {gathered:>12.0f}")
