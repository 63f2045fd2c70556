"""Whole slides: read region by region, cut into tiles, searched by a classifier; never held in memory as a whole."""

from .annotations import Annotation, find_annotation
from .detect import DetectionReport
from .opening import SlideFile, find_slides, open_slide
from .slide import Level, Slide, mpp_of
from .stream import SlideInputs, TileBatches, check_resolution, check_targets, tile_loader
from .tiles import tiles

__all__ = [
    "Annotation",
    "DetectionReport",
    "Level",
    "Slide",
    "SlideFile",
    "SlideInputs",
    "TileBatches",
    "check_resolution",
    "check_targets",
    "find_annotation",
    "find_slides",
    "mpp_of",
    "open_slide",
    "tile_loader",
    "tiles",
]
