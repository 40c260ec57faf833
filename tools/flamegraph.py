"""Collapsed stacks (`outer;...;inner COUNT`, a line each) as a flame graph and as a list of functions. Pure."""

import re
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

Stack = tuple[str, ...]

_WIDTH, _ROW, _MARGIN = 1200.0, 17, 10
_NARROWEST = 0.3  # pixels; what is narrower is left out
_LETTER = 6.7  # pixels
_LINE_NUMBER = re.compile(r":\d+\)$")


class Function(NamedTuple):
    """A function's share of all samples: by itself, and with what it called."""

    name: str
    own: float
    total: float


@dataclass(slots=True)
class _Box:
    """A function called from one place, as wide as its samples."""

    count: int = 0
    inner: dict[str, "_Box"] = field(default_factory=dict)


def parse(text: str) -> dict[Stack, int]:
    """The stacks of collapsed text. Raises ValueError naming the line that is none."""
    found: Counter[Stack] = Counter()
    for line in text.splitlines():
        frames, _, number = line.rpartition(" ")
        if not frames or not number.isdecimal():
            raise ValueError(f"no stack and count: {line[:80]!r}")
        found[tuple(frames.split(";"))] += int(number)
    return dict(found)


def functions(stacks: Mapping[Stack, int]) -> list[Function]:
    """Each function's share, the largest own first; the first frame of a stack is its thread and counts as none."""
    everything = sum(stacks.values()) or 1
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack, count in stacks.items():
        names = [_LINE_NUMBER.sub(")", frame) for frame in stack[1:]]
        if names:
            own[names[-1]] += count
        for name in set(names):  # a function that calls itself counts once
            total[name] += count
    shares = [Function(name, own[name] / everything, number / everything) for name, number in total.items()]
    return sorted(shares, key=lambda share: (-share.own, -share.total, share.name))


def svg(stacks: Mapping[Stack, int], title: str) -> str:
    """A flame graph that any browser shows: callers below, callees above, widths by samples, hover for the numbers."""
    root = _tree(stacks)
    levels = _depth(root)
    height = 2 * _MARGIN + _ROW * (levels + 1)
    boxes: list[str] = []
    _draw(boxes, title, root, _MARGIN, height - _MARGIN - _ROW, (_WIDTH - 2 * _MARGIN) / (root.count or 1), root.count)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height}" width="{_WIDTH:g}"'
            f' height="{height}">',
            "<style>text{font:11px monospace;pointer-events:none} rect{stroke:#fff;stroke-width:.5}"
            " g:hover rect{stroke:#000}</style>",
            f'<rect width="100%" height="100%" fill="#fff"/><text x="{_MARGIN}" y="18">{escape(title)}</text>',
            *boxes,
            "</svg>\n",
        ]
    )


def _tree(stacks: Mapping[Stack, int]) -> _Box:
    root = _Box()
    for stack, count in stacks.items():
        box = root
        box.count += count
        for frame in stack:
            box = box.inner.setdefault(frame, _Box())
            box.count += count
    return root


def _depth(box: _Box) -> int:
    return 1 + max((_depth(inner) for inner in box.inner.values()), default=0)


def _draw(out: list[str], name: str, box: _Box, x: float, y: int, scale: float, everything: int) -> None:
    """Adds the box and those that stand on it."""
    width = box.count * scale
    if width < _NARROWEST:
        return
    letters = int((width - 4) / _LETTER)
    shown = name if len(name) <= letters else name[: letters - 1] + "…" if letters > 3 else ""
    share = f"{box.count} samples, {box.count / (everything or 1):.1%}"
    out.append(
        f"<g><title>{escape(name)}: {share}</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" fill="{_colour(name)}"/>'
        f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(shown)}</text></g>'
    )
    for inner_name, inner in sorted(box.inner.items()):
        _draw(out, inner_name, inner, x, y - _ROW, scale, everything)
        x += inner.count * scale


def _colour(name: str) -> str:
    """The same warm colour for all functions of a file."""
    file = name.partition("(")[2].partition(":")[0]
    return f"hsl({zlib.crc32(file.encode()) % 60},80%,70%)"
