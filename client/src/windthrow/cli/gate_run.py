"""One gate from the command line: what is told on the way, how it ends, and that it leaves nothing running."""

import signal
import sys
from typing import TYPE_CHECKING, Optional

from windthrow._gate_text import only_warns
from windthrow.cli import verdicts
from windthrow.cli.cancelling import cancel
from windthrow.cli.endings import Ending
from windthrow.cli.gate_options import Options, read_gate_file
from windthrow.cli.gate_trouble import conclude, write
from windthrow.cli.output import print_json, say, say_as_it_is, unheard
from windthrow.cli.session import said_retries
from windthrow.cli.signals import Signals, Stopped
from windthrow.cli.surroundings import in_github, outcome_annotations
from windthrow.cli.underway import Show, underway
from windthrow.gates import Gated, Step
from windthrow.records import Json

if TYPE_CHECKING:
    from windthrow import Client


class GateRun:
    """A gate, and what it knows for when it has to end early."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._signals = Signals()
        self._text = ""
        self._checked: Json = {}
        self._mine: list[str] = []
        self._show_done: Show = _nothing
        self._sending = False
        self._gated: Optional[Gated] = None
        self._written = False

    def run(self) -> int:
        """Run it to its exit code, whatever happens."""
        try:
            with self._signals:
                return self._verdict()
        except Stopped as stop:
            return self._stopped(stop)
        except KeyboardInterrupt:
            return self._stopped(Stopped(signal.SIGINT))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no verdict
            status = None if self._gated is None else str(self._gated.verdict["status"])
            code = conclude(error, self._options, self._warns(), status=status, written=self._written)
            return code if self._gated is None else self._gated.exit_code or code

    def _verdict(self) -> int:
        import windthrow

        self._text = read_gate_file(self._options.file)
        with windthrow.Client(retries=said_retries(), on_retry=say) as client:
            try:
                self._gated = gated = self._gate(client)
            finally:
                self._signals.release()
            self._mine.clear()
            self._show(client, gated)
            self._options.outputs.decided(gated)
            self._options.outputs.judged(client, gated)
            self._written = True
            if self._options.set_baseline and gated.exit_code == 0:
                self._set_baseline(client, gated)
            return gated.exit_code

    def _gate(self, client: "Client") -> Gated:
        options = self._options
        with underway() as self._show_done:
            return client.gate(
                self._text,
                checkpoint=options.checkpoint,
                roots=options.places.roots,
                place=options.places.baseline,
                deadline=options.deadline,
                policy_file=options.places.policy_file,
                report=options.report,
                publish=options.publish,
                progress=self._sent,
                on_step=self._heard,
            )

    def _heard(self, step: Step) -> None:
        if step.kind == "submitting":
            self._signals.hold()
            return
        if step.kind == "checked" and step.document is not None:
            self._checked = step.document
        if step.kind == "job" and step.job is not None and step.mine:
            self._mine.append(step.job.id)
        if step.kind == "event":
            self._show_done(step.message, step.done)
        else:
            self._show_done("", None)
            say(step.message)
        self._signals.release()

    def _sent(self, sent: int, size: int) -> None:
        if sent < size:
            self._sending = True
        if self._sending:  # nothing is sent of what the service has
            self._show_done(f"sending {size} bytes", sent / size)

    def _show(self, client: "Client", gated: Gated) -> None:
        options, verdict = self._options, gated.verdict
        try:
            if in_github():
                for mark in outcome_annotations(verdict, self._checked, options.places.policy_file):
                    (say_as_it_is if options.as_json else print)(mark)
            if options.as_json:
                print_json(gated.document)
            else:
                results = f"{client.url}/v1/jobs/{gated.job.id}/results"
                verdicts.show(verdict, links={"results": results, "report": gated.report})
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads any more, which changes nothing about the verdict
            unheard(1)

    def _set_baseline(self, client: "Client", gated: Gated) -> None:
        repository = self._options.places.repository
        assert repository is not None
        name = gated.plan.file["model"].get("name") or ""
        of = f"{repository}, model {name}," if name else repository
        for kind, ref in self._options.places.here():
            client.set_baseline(gated.job.id, repository=repository, kind=kind, ref=ref, model_name=name)
            say(f"the baseline of {of} at {kind} {ref} is evaluation {gated.job.id} now")

    def _warns(self) -> bool:
        """Whether the file says so: as the service read it, though not where it does not so much as name it."""
        file = self._checked.get("file")
        if file is None:
            return only_warns(self._text)
        return file.get("on_service_error") == "warn" and "on_service_error" in self._text

    def _stopped(self, stop: Stopped) -> int:
        say(f"windthrow: {stop}: stopping")
        if self._options.keep_running:
            for job in self._mine:
                say(f"job {job} goes on: windthrow watch {job}, or windthrow cancel {job}")
        else:
            cancel(self._mine)
        if self._gated is None:
            write(Ending(stop.exit_code, "CALL", f"it was stopped by {stop}", "run again"), self._options)
        return stop.exit_code


def _nothing(what: str, done: Optional[float]) -> None:
    del what, done
