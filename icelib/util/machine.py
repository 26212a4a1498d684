"""What the machine can do, how it is named in results, and the versions of libraries that may change a digit."""

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version

import threadpoolctl
import torch

LIBRARIES = ("numpy", "pytorch-ood", "scikit-learn", "scipy", "torch", "torchvision")


def device():
    """Return the GPU if PyTorch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(wish, device):
    """Return the backbone's number type (torch.dtype): what is wished, "float32" or "bfloat16".

    With "auto" bfloat16 where the hardware computes in it, else float32: by what the device can do, never by a timing,
    so that the choice is reproducible.
    """
    if wish != "auto":
        return getattr(torch, wish)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    native = capability.startswith("SVE") or (capability == "AVX512" and torch.cpu._is_avx512_bf16_supported())
    return torch.bfloat16 if native and torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def configure(device):
    """State how float32 is computed on a GPU, whatever its defaults, and choose nothing by timing.

    Matrix products of the head are exact to float32, since its squared distances need the digits;
    convolutions, which run in bfloat16 or in float32 by choice, may use TF32 in the latter.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = False  # it would pick algorithms by timing them


def describe(device, precision):
    """Return what besides the configuration may change the last digits of a result, as a dict.

    ``device`` (its name), ``threads`` (how many), ``precision`` (of the backbone, a torch.dtype), and versions of
    ``torch`` and ``python``.
    """
    processor = f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "threads": torch.get_num_threads(),
        "precision": str(precision).removeprefix("torch."),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def versions():
    """Return the installed version of each of `LIBRARIES`, by name."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # training needs few of them
            found[name] = version(name)
    return found


@contextlib.contextmanager
def one_thread():
    """Compute with one thread in a block or function: sums depend on the number of threads, and results must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
