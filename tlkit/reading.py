"""Functions by which plugins read the files of data sets: sizes of pictures, frames of videos, digests of contents. Imports no torch."""

from tlkit.file_digests import digests
from tlkit.sources import video_files
from tlkit.sources.scaling import size_of
from tlkit.sources.spelling import spelt_otherwise

__all__ = ["digests", "size_of", "spelt_otherwise", "video_files"]
