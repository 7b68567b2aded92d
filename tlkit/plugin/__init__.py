"""What a plugin is made of: plain values that name where the code is, and the registry that finds plugins by entry point.

Third parties import from here; importing this package, or a plugin, imports no torch. Nothing here knows a recipe, a network or a run.
"""

from tlkit.file_list import FileList
from tlkit.files import cache_folder, replacing
from tlkit.plugin import image_kinds
from tlkit.plugin.adapter import Adapter, DomainBatch
from tlkit.plugin.alignment import Affine, Alignment
from tlkit.plugin.backbone import AuxHead, Backbone, Layout
from tlkit.plugin.boxes import ANCHOR_VALUES, POINT_VALUES, Boxes, boxed
from tlkit.plugin.calling import call
from tlkit.plugin.dataset import Dataset
from tlkit.plugin.executor import Demand, Executor, Work
from tlkit.plugin.family import Family
from tlkit.plugin.head import FeatureMap, Head, Solving
from tlkit.plugin.hold_out import hold_out
from tlkit.plugin.images import DataFiles, Images, Split
from tlkit.plugin.logger import LoggedEnd, LoggedRun, Logger, RunLogger
from tlkit.plugin.masks import IGNORED, MaskCoding, MaskFile
from tlkit.plugin.members import ImageFile, ImageFiles, Member, Storage, Subset
from tlkit.plugin.options import Channels, DataPath, Options, PixelRange
from tlkit.plugin.remembered import recall, remember
from tlkit.plugin.weights import CAFFE, HUB, HUB_SITE, IMAGENET, Convention, Download, Values, Weights, pytorch

__all__ = [
    "ANCHOR_VALUES",
    "CAFFE",
    "HUB",
    "HUB_SITE",
    "IGNORED",
    "IMAGENET",
    "POINT_VALUES",
    "Adapter",
    "Affine",
    "Alignment",
    "AuxHead",
    "Backbone",
    "Boxes",
    "Channels",
    "Convention",
    "DataFiles",
    "DataPath",
    "Dataset",
    "Demand",
    "DomainBatch",
    "Download",
    "Executor",
    "Family",
    "FeatureMap",
    "FileList",
    "Head",
    "ImageFile",
    "ImageFiles",
    "Images",
    "Layout",
    "LoggedEnd",
    "LoggedRun",
    "Logger",
    "MaskCoding",
    "MaskFile",
    "Member",
    "Options",
    "PixelRange",
    "RunLogger",
    "Solving",
    "Split",
    "Storage",
    "Subset",
    "Values",
    "Weights",
    "Work",
    "boxed",
    "cache_folder",
    "call",
    "hold_out",
    "image_kinds",
    "pytorch",
    "recall",
    "remember",
    "replacing",
]  # fmt: skip
