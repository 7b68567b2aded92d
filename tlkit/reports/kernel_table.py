"""The speed of a network's convolutions as a table. Nothing here prints."""

from __future__ import annotations

from rich.console import Group, RenderableType

from tlkit import units
from tlkit.record.census import Census
from tlkit.reports import plain_table

_PARTS = {"forward": "forward", "input": "gradient of the input", "weight": "gradient of the weight"}


def census(found: Census, *, rows: int) -> RenderableType:
    """Return the convolutions that take most of the step, and below them what all take.

    Args:
        found: The measurements.
        rows: Number of rows that are shown.
    """
    title = f"{found.network}, {units.images(found.images)} of {units.pixels(found.image_size)}, {found.compute_format}, "
    title += f"{units.counted(found.threads, 'thread')}: a step takes {found.step_seconds * 1e3:,.0f} ms"
    table = plain_table.of("convolution", "computed", title=title)
    for name in ("calls", "ms", "of the step", "kernel", "ms with it", "GFLOP/s", "below the best"):
        table.add_column(name, justify="left" if name == "kernel" else "right", no_wrap=True)
    ordered = sorted(found.rows, key=found.share, reverse=True)
    for row in ordered[:rows]:
        table.add_row(
            str(row.convolution).removesuffix(f", {row.convolution.compute_format}"),
            _PARTS[row.part],
            str(row.count),
            f"{row.native_seconds * 1e3:.2f}",
            f"{found.share(row):.1%}",
            row.kernel,
            f"{row.seconds * 1e3:.2f}",
            f"{row.rate / 1e9:,.1f}",
            f"{found.best_rate / row.rate:.1f} times",
        )
    return Group(table, *_below(found, left=len(ordered[rows:]), share=sum(map(found.share, ordered[rows:]))))


def _below(found: Census, *, left: int, share: float) -> list[str]:
    lines = [f"{left} others take {share:.1%} of the step; --all shows them."] if left else []
    if not found.rows:
        return ["The network has no convolution that torch.conv2d computes in this format."]
    lines += [
        f"Convolutions take {found.convolutions:.0%} of the step with the library's kernels. "
        f"The best rate is {found.best_rate / 1e9:,.0f} GFLOP/s."
    ]
    if found.replaced:
        times = f"the step is expected to be {found.speedup:.2f} times faster"
        faster = f"{units.counted(found.replaced, 'gradient')} {'is' if found.replaced == 1 else 'are'} faster"
        lines += [f"{faster} with other kernels than the library's: {times}."]
    return lines
