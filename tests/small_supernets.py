"""The small supernets of the reference data, imported by the program under test. Scripts beside this one import it."""

import json
import subprocess

import numpy as np

KINDS = {"OFAMobileNetV3": "mbv3", "OFAProxylessNASNets": "proxyless", "OFAResNets": "resnet50"}


def ofa(program, *arguments):
    """Runs a command; its JSON."""
    words = [str(program), *map(str, arguments), "--json", "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
    return json.loads(done.stdout)


def small_supernet(program, shared, name, scratch):
    """Imports a small supernet; its model file and calibration images."""
    cases = json.loads((shared / "golden" / name / "cases.json").read_text())
    calibration = shared / "golden" / name / "calib.npy"
    size = np.load(calibration, mmap_mode="r").shape[2]
    lines = ["[space]", f'kind = "{KINDS[cases["network"]]}"', f'name = "{name}"', f"resolutions = [{size}]"]
    for key, value in cases["constructor"].items():
        if key == "bn_param":
            lines.append(f"bn_eps = {value['eps']}")
        elif key != "dropout_rate":
            lines.append(f"{key} = {json.dumps(value)}")
    space, model = scratch / f"{name}.toml", scratch / f"{name}.safetensors"
    space.write_text("\n".join(lines) + "\n")
    ofa(program, "import", "supernet", shared / "golden" / cases["checkpoint"], "--space", space, "-o", model)
    return model, calibration
