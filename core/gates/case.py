"""What a verdict is taken of: evaluation, baseline, transferability, and the day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from core.gates.decide import decide
from core.gates.looks import Look, level_of, next_look
from core.gates.measured import Measured, MeasuredTransfer
from core.gates.verdict import EXIT_CODES, Verdict
from core.intervals import LEVEL
from core.specs.gate_file import GateFile
from core.specs.policies import GatePolicy


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """See `core.gates.decide` for the fields."""

    measured: Measured
    baseline: Measured | None
    transfer: MeasuredTransfer | None
    today: date
    others: Sequence[str] = ()

    def decide(self, policy: GatePolicy, *, level: float = LEVEL) -> Verdict:
        """The verdict, with intervals at a level."""
        return decide(
            policy,
            self.measured,
            self.baseline,
            transfer=self.transfer,
            today=self.today,
            level=level,
            others=self.others,
        )

    def decide_look(self, gate_file: GateFile, look: Look, looks: Sequence[Look]) -> Verdict:
        """The verdict on one of a gate's looks; while there is a next one worth taking, nothing is settled."""
        verdict = self.decide(gate_file.policy, level=level_of(looks))
        following = next_look(verdict, self.measured, look, looks)
        said = verdict.model_copy(
            update={"look": look.said(len(looks)), "next": following, "gate_file": gate_file.digest()}
        )
        if following is None:
            return said
        message = f"not settled by look {look.number} of {len(looks)}: {following.why}"
        open_ = {"status": "inconclusive", "exit_code": EXIT_CODES["inconclusive"], "message": message}
        return said.model_copy(update=open_)
