"""Video clips in a folder per class, as ActivityNet and UCF101 are used: some frames of each clip are images of its class."""

from pydantic import Field

from tlkit.plugin import Dataset, Options


class ClipsOptions(Options):
    """Which folder, and how many frames of each clip.

    Attributes:
        path: The folder.
        frames: Number of frames of each clip, at even distances; a clip that has fewer gives all of them.
        test_fraction: Part of the clips of each class that becomes the test set where the folder has none of its own.
    """

    path: str | None = None
    frames: int = Field(default=8, ge=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)


clips = Dataset(
    read="tlkit_clips.read:read",
    find="tlkit_clips.read:find",
    options=ClipsOptions,
    test_options=(),
    licence="that of the clips",
    summary="video clips in one sub-folder per class: frames of each, which a split keeps together; needs tlkit[video]",
)
