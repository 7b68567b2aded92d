"""What `tlkit advise --source` found out about two domains, as plain data. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["help", "hurt", "unclear", ""]


@dataclass(frozen=True)
class Compared:
    """A way to use the images of two domains, and how a head that is fitted so does on labelled images of the target.

    Attributes:
        name: Of the way, "stats".
        what: In words.
        accuracy: Of cross-validation on the target's images, 0 to 1; None where it was not tried.
        error: Standard error of that accuracy.
        gain: Accuracy above that of the target's labelled images alone; None where one of both was not tried.
        interval: 95 % interval of that gain, of the same images.
        why_not: Why it was not tried; "" where it was.
    """

    name: str
    what: str
    accuracy: float | None = None
    error: float = 0.0
    gain: float | None = None
    interval: tuple[float, float] = (0.0, 0.0)
    why_not: str = ""


@dataclass(frozen=True)
class DomainAdvice:
    """How far apart two domains are, and what the images of the source are worth.

    Attributes:
        source: The folder of the source.
        images: Images of the source, and of the target, that features were computed of.
        stage: The stage that heads read.
        distances: Of the domains at each stage that there was time for, by the name of the distance.
        compared: Every way, in the order in which they were tried.
        verdict: Whether images of the source beside the target's labelled ones help: "unclear" where the interval holds 0, "" where it was
            not tried.
        words: The same in a sentence.
    """

    source: str
    images: tuple[int, int]
    stage: str
    distances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compared: tuple[Compared, ...] = ()
    verdict: Verdict = ""
    words: str = ""
