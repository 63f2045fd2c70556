from mae_tools.check.case_report import CaseReport


def test_the_table_shows_tissues_where_they_are_known() -> None:
    report = CaseReport("training", "p", "p.nii", voxels={0: 90, 1: 10})
    assert report.columns()[4] == "0-1"
    report.tissues = {"oedema": 10}
    assert report.columns()[4] == "oedema 10"
    report.tissues = {}
    assert report.columns()[4] == "no tumour"
