"""Results of a classifier in DICOM, by study: a structured report (TID 1500), or captures of where it looked."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from custom_components.distributed import is_main, say
from custom_components.errors import InputError
from ignite.engine import Events
from monai.engines.workflow import Workflow

from ..data.inference import InferenceInputs
from ..data.verify import sentence
from ..figures.pictures import listed_path
from ..files import file_name, short_name, write_atomically
from ..scores.prediction_table import PredictionTable
from .capture import capture
from .codes import code_of, read_codes
from .picture import is_dicom
from .references import equipment, file_content, model_of, source_header, taking_over

FORMATS = {"csv": "", "dicom_sr": "structured report", "dicom_sc": "secondary capture"}
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_IMAGING = ("363679005", "SCT", "Imaging")
_PRESENT, _ABSENT = ("52101004", "SCT", "Present"), ("2667000", "SCT", "Absent")
_LIKELIEST = ("LIKELIEST_CLASS", "99MAE", "Likeliest class")


_Pictures = Sequence[tuple[int, pydicom.Dataset]]  # of a study: position in the list, header


class StudyResults:
    """Writes DICOM objects of each study when the table of predictions has been written.

    With "dicom_sc" these are `<StudyInstanceUID>_sc1.dcm`, `..._sc2.dcm`, ...: a series of the attention pictures.

    With "dicom_sr" it is `<StudyInstanceUID>_sr.dcm`, which holds a measurement group a picture: the probability of
    each finding or class (not of those that were not learnt), and whether it reaches its threshold, or the likeliest
    class. It is complete and unverified; its observer is the bundle, with its version and the sha256 of its weights.

    Args:
        table: attached before this handler.
        inputs: gets the pictures that belong to no study.
        output_dir: made if missing.
        metadata: the bundle's `metadata.json`.
        weights: its weights.
        codes: one's own codes of findings, see `codes.read_codes`; others are coded in a private scheme (99MAE).
        output_format: with "csv" nothing is written here.
        pictures: folder of `AttentionPictures`, for "dicom_sc".

    Raises:
        InputError: another format, or codes that make no sense.
    """

    def __init__(
        self,
        table: PredictionTable,
        inputs: InferenceInputs,
        output_dir: str,
        metadata: str,
        weights: str,
        codes: str | Mapping[str, Any] | None = None,
        output_format: str = "dicom_sr",
        pictures: str = "",
    ) -> None:
        if output_format not in FORMATS:
            raise InputError(f"output_format is {output_format!r}; choose one of {', '.join(FORMATS)}.")
        self.table, self.inputs, self.output_dir, self.output_format = table, inputs, Path(output_dir), output_format
        self.metadata, self.weights, self.pictures = metadata, weights, Path(pictures)
        own = read_codes(codes)
        if unknown := [name for name in own if name not in table.class_names]:
            raise InputError(f"finding_codes: {unknown[0]!r} is not among the classes {table.class_names}.")
        self.codes = {name: code_of(name, own, table_too=False).type for name in table.class_names}

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        if self.output_format != "csv":
            engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Workflow) -> None:
        """Write the objects of all studies."""
        if not is_main():
            return
        make = self._report if self.output_format == "dicom_sr" else self._captures
        written = 0
        for study, pictures in self._studies().items():
            for ending, content in make(pictures):
                write_atomically(self.output_dir / f"{short_name(file_name(study))}_{ending}.dcm", content)
                written += 1
        say(f"{written} {FORMATS[self.output_format]}(s): {self.output_dir}")

    def _studies(self) -> Mapping[str, _Pictures]:
        """The pictures of each study that are to be told of; one without a study is listed among the failures."""
        studies: dict[str, list[tuple[int, pydicom.Dataset]]] = {}
        for index in sorted(self.table.rows):
            item = self.table.items[index]
            file = str(item["file"])
            try:
                with open(file, "rb") as opened:
                    preamble = opened.read(132)
                if not is_dicom(preamble):
                    raise InputError(f"{file}: is no DICOM file, so that it belongs to no study.")
                header = source_header(file, file, _NEEDED, f"a {FORMATS[self.output_format]}")
            except InputError as error:
                self.inputs.set_aside(item["case"], file, sentence(error, file))
            else:
                studies.setdefault(str(header.StudyInstanceUID), []).append((index, header))
        return studies

    def _captures(self, pictures: _Pictures) -> Iterator[tuple[str, bytes]]:
        """The attention pictures of one study, each a file."""
        series = str(pydicom.uid.generate_uid())
        for number, (index, header) in enumerate(pictures, 1):
            drawn = listed_path(self.pictures, self.table.items, index)
            yield f"sc{number}", capture(drawn, header, model_of(self.metadata, self.weights), series, number)

    def _report(self, pictures: _Pictures) -> Iterator[tuple[str, bytes]]:
        """The report on the pictures of one study."""
        import highdicom as hd  # takes a second, and few runs need it
        from pydicom.sr.codedict import codes as known

        model = model_of(self.metadata, self.weights)
        device = hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(),
            name=model["name"][:64],
            model_name=model["name"][:64],
            serial_number=model["weights_sha256"][:16],
        )
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(
                observer_device_context=hd.sr.ObserverContext(known.DCM.Device, device)
            ),
            procedure_reported=hd.sr.CodedConcept(*_IMAGING),
            imaging_measurements=[self._group(hd, known, index, header, model) for index, header in pictures],
            title=known.DCM.ImagingMeasurementReport,
        )
        with taking_over():
            made = hd.sr.ComprehensiveSR(
                evidence=[header for _, header in pictures],
                content=report,
                series_instance_uid=hd.UID(),
                series_number=301,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                series_description=f"Findings, {model['name']}"[:64],
                is_complete=True,
                **equipment(model),
            )
            yield "sr", file_content(made)

    def _group(self, hd: Any, known: Any, index: int, header: pydicom.Dataset, model: Mapping[str, str]) -> Any:
        """What is said of one picture."""
        row = self.table.rows[index]
        learnt = [name for name in self.table.class_names if name not in self.table.unlearnt]
        coded = {name: hd.sr.CodedConcept(*code) for name, code in self.codes.items()}
        values = dict(zip(self.table.class_names, row, strict=True))
        verdicts = self.table.verdicts(row)
        if self.table.task == "multi_class":
            said = [hd.sr.QualitativeEvaluation(hd.sr.CodedConcept(*_LIKELIEST), coded[verdicts[0]])]
        else:
            meaning = {"yes": hd.sr.CodedConcept(*_PRESENT), "no": hd.sr.CodedConcept(*_ABSENT)}
            by_name = zip(self.table.class_names, verdicts, strict=True)
            said = [
                hd.sr.QualitativeEvaluation(coded[name], meaning[verdict])
                for name, verdict in by_name
                if name in learnt
            ]
        return hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), str(self.table.items[index]["case"])[:64]),
            algorithm_id=hd.sr.AlgorithmIdentification(
                model["name"], model["version"], [f"weights_sha256 {model['weights_sha256']}"]
            ),
            measurements=[
                hd.sr.Measurement(coded[name], round(values[name], 6), known.UCUM.NoUnits) for name in learnt
            ],
            qualitative_evaluations=said,
            source_images=[hd.sr.SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)],
        )
