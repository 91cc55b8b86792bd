"""The gate: may this model ship? A policy and stored results in, a verdict out, without a GPU."""

from core.gates.decide import decide
from core.gates.measured import Measured, MeasuredResult, MeasuredTransfer
from core.gates.verdict import Outcome, Verdict

__all__ = ["Measured", "MeasuredResult", "MeasuredTransfer", "Outcome", "Verdict", "decide"]
