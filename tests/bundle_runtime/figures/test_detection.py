from pathlib import Path

import numpy as np
from bundle_runtime.figures.detection import detection_figure, froc_figure
from bundle_runtime.slides.annotations import Annotation
from bundle_runtime.slides.froc import Hits, report
from bundle_runtime.slides.geojson import point_feature, polygon_feature, write_features
from bundle_runtime.slides.grid import tissue_grid
from bundle_runtime.slides.heatmap import HeatMap
from bundle_runtime.slides.slide import Slide
from PIL import Image
from slide_files import pyramid, with_tissue


def test_what_is_drawn_lies_where_it_is(tmp_path: Path) -> None:
    corners = np.array([[200.0, 200], [300, 200], [300, 300], [200, 300]])
    features = [polygon_feature([corners], "tumour", (1, 2, 3), {}), point_feature(150, 150, "tumour", (1, 2, 3), {})]
    marks = write_features(tmp_path / "s.geojson", features)
    with Slide(pyramid(tmp_path / "s.tif", with_tissue(512), mpp=4.0)) as slide:
        grid, _, overview = tissue_grid(slide, 4.0, 32)
        heat = HeatMap(grid, 1, 4.0)
        values = np.zeros((len(grid), 1), np.float32)
        values[5] = 0.9
        heat.put(np.arange(len(grid)), values, np.zeros(len(grid), np.uint8))
        total = heat.total(True)
        regions, numbers = heat.regions(total, 0.5, 0.0)
        points = heat.points(total, 0.5, 100.0, numbers)
        figure = detection_figure(
            overview, heat, total, points, regions, (512, 512), tmp_path / "o.png", "title", Annotation(marks, slide)
        )
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["annotated", "detected region", "detected point"]
    left, right = figure.axes[:2]
    assert not right.texts
    assert (left.get_xlim(), left.get_ylim()) == ((0, 512), (512, 0))
    assert right.images[1].get_extent() == [0, 512, 512, 0]
    drawn = [line.get_xydata() for line in right.lines]
    outline = {tuple(corner) for corner in corners}
    assert any({tuple(place) for place in line} == outline for line in drawn)
    row, column = grid.corner(5)
    assert right.collections[0].get_offsets()[0].tolist() == [column + 16, row + 16]
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.size[0] > 1000


def test_a_slide_without_tissue_says_so(tmp_path: Path) -> None:
    with Slide(pyramid(tmp_path / "s.tif", with_tissue(512, []), mpp=4.0)) as slide:
        grid, _, overview = tissue_grid(slide, 4.0, 32)
    heat = HeatMap(grid, 1, 4.0)
    figure = detection_figure(overview, heat, heat.total(True), [], [], (512, 512), tmp_path / "o.png")
    assert [text.get_text() for text in figure.axes[1].texts] == ["no tissue found"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["detected region", "detected point"]


def test_the_curve_is_that_of_the_report(tmp_path: Path) -> None:
    slides = [Hits(np.array([0.5, 0.2]), np.array([0.9, 0.3]), 2, 0)]
    found = report(slides, ["a"])
    (axes,) = froc_figure(found, tmp_path / "froc.png", "title").axes
    drawn = axes.lines[0].get_xydata()
    assert drawn[:-1, 0].tolist() == found["curve"]["false_positives_per_slide"]
    assert drawn[:-1, 1].tolist() == found["curve"]["sensitivity"]
    assert axes.collections[0].get_offsets()[:, 1].tolist() == list(found["sensitivity_at"].values())
    assert (tmp_path / "froc.png").read_bytes().startswith(b"\x89PNG")
