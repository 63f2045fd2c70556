"""Inference goes on after a case that fails."""

from typing import Any

from custom_components.errors import find_input_error

from ..check.check_report import Problem


class CaseByCase:
    """What inputs of an inference run share: a failing case is noted in `problems`, and the next one is taken.

    Attributes:
        section: name of the list that the cases come from.
        problems: everything that could not be used so far.
    """

    section: str
    problems: list[Problem]

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """The evaluator's `iteration_update`."""
        cases = list(zip(batch["case"], batch["file"], strict=True))
        try:
            return engine._iteration(engine, batch)
        except Exception as error:  # whatever it was, it is listed, and it decides the exit code
            reason = find_input_error(error) or error
            text = f"it could not be segmented ({type(reason).__name__}: {reason})"
            self.problems += [Problem(self.section, case, file, "error", text) for case, file in cases]
            engine.state.batch = []
            return []
