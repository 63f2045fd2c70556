from mae_tools import demo_data


def test_every_painter_has_a_kind_and_a_name() -> None:
    assert set(demo_data.PAINTERS) == {"abdomen", "heads", "histology", "lesions", "radiographs", "slide"}
    for painter in demo_data.PAINTERS.values():
        assert getattr(demo_data, painter.__name__) is painter
