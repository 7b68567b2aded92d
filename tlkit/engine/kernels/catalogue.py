"""All kernels, in the order in which they are tried. The library's own come first: of equally fast ones the earlier is taken."""

from __future__ import annotations

from tlkit.engine.kernels import columns, dilated, native, phases, pixel_products, products, windows, winograd
from tlkit.engine.kernels.kernel import Kernel
from tlkit.errors import TlkitError
from tlkit.record.kernels import Convolution, Part

KERNELS: tuple[Kernel, ...] = (
    *native.KERNELS, *phases.KERNELS, *windows.KERNELS, *products.KERNELS, *pixel_products.KERNELS, *dilated.KERNELS,
    *columns.KERNELS, *winograd.KERNELS,
)  # fmt: skip


def candidates(convolution: Convolution, part: Part) -> list[Kernel]:
    """Return the kernels that can compute a gradient of a convolution; the first is the library's own."""
    return [kernel for kernel in KERNELS if kernel.part == part and kernel.fits(convolution)]


def get(name: str, part: Part) -> Kernel:
    """Return a kernel by its name.

    Raises:
        TlkitError: there is no such kernel.
    """
    known = {kernel.name: kernel for kernel in KERNELS if kernel.part == part}
    if name not in known:
        raise TlkitError(
            f'kernels: there is no kernel "{name}" for the gradient of the {part}.', f"there are: {', '.join(known)}"
        )
    return known[name]
