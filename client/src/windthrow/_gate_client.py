"""The methods about gates of the client that blocks. What they do is written in `_gate_calls` and `_gating`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windthrow._transports import complete

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from windthrow._files import SendProgress
    from windthrow._gate_jobs import OnStep
    from windthrow._operations import Operations
    from windthrow.gates import Gated
    from windthrow.records import Json


class GateClient:
    """What the holder of an API key can ask of a service about gates."""

    _operations: Operations

    def check_gate_file(self, text: str, *, model: str | None = None) -> Json:
        """What the text of a `windthrow.yaml` says: the file as JSON, its policy, and the looks that it plans.

        Args:
            text: the YAML.
            model: a registered model's id: its tasks are those that are attacked.

        Raises:
            RequestError: it is no gate file (`invalid_gate_file`); `errors` have lines and columns.
        """
        return complete(self._operations.check_gate_file(text, model=model))

    def verdict(
        self,
        job_id: str,
        *,
        gate_file: str | None = None,
        policy: Mapping[str, Any] | None = None,
        baseline: str | Mapping[str, Any] | None = None,
        transferability: str | None = None,
        policy_file: str | None = None,
        report: str | None = None,
        trial: bool = False,
    ) -> Json:
        """Whether an evaluated model keeps a policy; nothing is run for it.

        Args:
            job_id: a succeeded evaluation.
            gate_file: the text of a `windthrow.yaml`; it plans looks, and the verdict says which to take next.
            policy: a policy alone, instead.
            baseline: an evaluation's id, or where to look: `repository` and `merge_base`, `branch` or `tag`; and with a
                policy alone perhaps `model_name`, which a gate file says itself.
            transferability: id of the model's transferability job, for rules on it.
            policy_file: the file's path from the repository's root.
            report: an address to point to.
            trial: decide any evaluation by the gate file's policy, not only those that the file asks for.
        """
        return complete(
            self._operations.verdict(
                job_id,
                gate_file=gate_file,
                policy=policy,
                baseline=baseline,
                transferability=transferability,
                policy_file=policy_file,
                report=report,
                trial=trial,
            )
        )

    def verdict_file(
        self,
        job_id: str,
        form: str,
        *,
        gate_file: str | None = None,
        policy: Mapping[str, Any] | None = None,
        baseline: str | Mapping[str, Any] | None = None,
        transferability: str | None = None,
        policy_file: str | None = None,
        report: str | None = None,
    ) -> bytes:
        """The same verdict as a file: `markdown`, `junit`, `sarif`, `badge`, `shields`, `text` or `html`."""
        return complete(
            self._operations.verdict_file(
                job_id,
                form,
                gate_file=gate_file,
                policy=policy,
                baseline=baseline,
                transferability=transferability,
                policy_file=policy_file,
                report=report,
            )
        )

    def publish_report(
        self,
        job_id: str,
        *,
        gate_file: str | None = None,
        policy: Mapping[str, Any] | None = None,
        baseline: str | Mapping[str, Any] | None = None,
        transferability: str | None = None,
        policy_file: str | None = None,
        report: str | None = None,
        trial: bool = False,
        days: int | None = None,
    ) -> Json:
        """Let the service keep the same verdict's page: whoever has its `url` can read it, without a key.

        Args:
            job_id: a succeeded evaluation.
            gate_file: the text of a `windthrow.yaml`.
            policy: a policy alone, instead.
            baseline: as of `verdict`.
            transferability: id of the model's transferability job, for rules on it.
            policy_file: the file's path from the repository's root.
            report: an address for the page to point to, such as the CI's run.
            trial: as of `verdict`.
            days: for how long it is kept; the service's 90 unless said.
        """
        return complete(
            self._operations.publish_report(
                job_id,
                gate_file=gate_file,
                policy=policy,
                baseline=baseline,
                transferability=transferability,
                policy_file=policy_file,
                report=report,
                trial=trial,
                days=days,
            )
        )

    def reports(self, job_id: str | None = None, *, limit: int = 50) -> list[Json]:
        """Reports that the service keeps, newest first, without their addresses.

        Args:
            job_id: only those on this evaluation.
            limit: so many at most.
        """
        return complete(self._operations.reports(job_id, limit=limit))

    def withdraw_report(self, report_id: str) -> None:
        """Let a report's address lead nowhere from now on."""
        complete(self._operations.withdraw_report(report_id))

    def baselines(
        self,
        repository: str | None = None,
        *,
        model_name: str | None = None,
        ended: bool = False,
        limit: int = 50,
    ) -> list[Json]:
        """Baselines, newest first: those that hold, of this repository if one is given.

        Args:
            repository: such as `github.com/acme/depth`.
            model_name: of the model that the repository calls so; "" of the one that it does not name.
            ended: also those that were replaced or retired.
            limit: so many at most.
        """
        return complete(
            self._operations.baselines(repository, model_name=model_name, ended=ended, limit=limit)
        )

    def resolve_baseline(
        self,
        repository: str,
        *,
        model_name: str = "",
        merge_base: str | None = None,
        branch: str | None = None,
        tag: str | None = None,
    ) -> Json:
        """The baseline that holds at the merge base, else at the branch, else at the tag; `baseline` may be None.

        Args:
            repository: such as `github.com/acme/depth`.
            model_name: what the repository calls the model, its gate file's `model.name`; "" where it names none. That
                of another model is none; `other_names` say whether there is one.
            merge_base: a commit's whole id.
            branch: a name.
            tag: a name.
        """
        return complete(
            self._operations.resolve_baseline(
                repository, model_name=model_name, merge_base=merge_base, branch=branch, tag=tag
            )
        )

    def set_baseline(
        self,
        job_id: str,
        *,
        repository: str,
        kind: str,
        ref: str,
        model_name: str = "",
        note: str | None = None,
        force: bool = False,
    ) -> Json:
        """Let verdicts on a repository's model compare with an evaluation.

        Args:
            job_id: a succeeded evaluation.
            repository: such as `github.com/acme/depth`.
            kind: what `ref` is: `commit`, `branch` or `tag`.
            ref: a commit's whole id, or a name.
            model_name: what the repository calls the model, its gate file's `model.name`; "" where it names none.
            note: why, for people.
            force: take an evaluation with error flags; `note` must say why.
        """
        return complete(
            self._operations.set_baseline(
                job_id,
                repository=repository,
                kind=kind,
                ref=ref,
                model_name=model_name,
                note=note,
                force=force,
            )
        )

    def gate(
        self,
        text: str,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        roots: Sequence[str | os.PathLike[str]] = (".",),
        place: Mapping[str, str | None] | Callable[[Json], Mapping[str, str | None]] | None = None,
        deadline: float | None = None,
        policy_file: str | None = None,
        report: str | None = None,
        publish: bool = False,
        progress: SendProgress | None = None,
        on_step: OnStep | None = None,
    ) -> Gated:
        """Gate a model: push it, evaluate it as its gate file plans, and decide.

        Run again, it sends nothing twice and attaches to the jobs that are there.

        Args:
            text: of the `windthrow.yaml`.
            checkpoint: what to gate; the file that the text names unless said.
            roots: where that file is looked for, such as the repository's root.
            place: where a baseline is looked for: `repository`, and `merge_base`, `branch`, `tag`; or what makes this
                of the file as JSON.
            deadline: seconds that it may take; as many as the text says unless said.
            policy_file: the text's path from the repository's root, for reports.
            report: an address that reports point to.
            publish: let the service keep the last look's page for whoever has its link, as `report` of the files; if
                that cannot be had, `report` stays what it is.
            progress: hears how many of how many bytes of the checkpoint are sent.
            on_step: hears of every step.

        Raises:
            RequestError: the text is no gate file (`invalid_gate_file`), or what it asks for is refused.
            ModelRejected: the model cannot be used.
            JobFailed: its evaluation failed, or somebody cancelled it.
            ServiceError: the service cannot be reached, says what makes no sense, or took too long (`WaitTimeout`).
        """
        return complete(
            self._operations.gate(
                text,
                checkpoint=checkpoint,
                roots=roots,
                place=place,
                deadline=deadline,
                policy_file=policy_file,
                report=report,
                publish=publish,
                progress=progress,
                on_step=on_step,
            )
        )
