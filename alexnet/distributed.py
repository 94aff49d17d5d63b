"""Devices and processes."""


import torch



def resolve_device(device: str) -> torch.device:
    """The device of that name.

    Raises:
        ValueError: if this machine has none.
    """
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as problem:
        raise ValueError(f"--device {device} cannot be used here, take --device cpu: {str(problem).splitlines()[0][:200]}") from problem
    if found.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"--device {device} cannot be used here, take --device cpu: nothing is computed on it")
    return found
