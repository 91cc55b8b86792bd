"""Calls about gates: gate files, verdicts and baselines, each a request; `_gating` puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from windthrow._documents import is_link
from windthrow._http import Request
from windthrow._waiting import job_path
from windthrow.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windthrow._calls import Calls
    from windthrow.records import Json

CHECK = "/v1/policies/check"
BASELINES = "/v1/baselines"
REPORTS = "/v1/reports"
FORMS = {
    "json": "application/json",
    "markdown": "text/markdown",
    "html": "text/html",
    "junit": "application/xml",
    "sarif": "application/sarif+json",
    "badge": "image/svg+xml",
    "shields": "application/json",
    "text": "text/plain",
}
"""The media types of a verdict's forms."""


class GateCalls:
    """What the holder of an API key can ask of a service about gates."""

    _calls: Calls
    url: str

    async def check_gate_file(self, text: str, *, model: str | None = None) -> Json:
        """What the text of a `windthrow.yaml` says: the file as JSON, its policy, and the looks that it plans.

        Args:
            text: the YAML.
            model: a registered model's id: its tasks are those that are attacked.

        Raises:
            RequestError: it is no gate file (`invalid_gate_file`); `errors` have lines and columns.
        """
        return await self._calls.json(check_request(text, model))

    async def verdict(
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
        said = _said(gate_file, policy, baseline, transferability, policy_file, report)
        if trial:
            said["trial"] = True
        return await self._calls.json(Request.sending(f"{job_path(job_id)}/verdict", said))

    async def verdict_file(
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
        said = _said(gate_file, policy, baseline, transferability, policy_file, report)
        path, params = f"{job_path(job_id)}/verdict", {"format": form}
        return (await self._calls.answer(Request.sending(path, said, params=params))).file(FORMS.get(form))

    async def publish_report(
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
        said = _said(gate_file, policy, baseline, transferability, policy_file, report)
        extra: dict[str, Any] = {"trial": True} if trial else {}
        if days is not None:
            extra["days"] = days
        published = await self._calls.json(Request.sending(REPORTS, {"job": job_id, **said, **extra}))
        return {**published, "url": report_address(published, self.url)}

    async def reports(self, job_id: str | None = None, *, limit: int = 50) -> list[Json]:
        """Reports that the service keeps, newest first, without their addresses.

        Args:
            job_id: only those on this evaluation.
            limit: so many at most.
        """
        return await self._calls.listed(dict, REPORTS, limit=limit, job=job_id)

    async def withdraw_report(self, report_id: str) -> None:
        """Let a report's address lead nowhere from now on."""
        await self._calls.answer(Request("DELETE", f"{REPORTS}/{quote(report_id, safe='')}"))

    async def baselines(
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
        wanted = {
            "repository": repository,
            "model_name": model_name,
            "ended": "true" if ended else None,
        }
        return await self._calls.listed(dict, BASELINES, limit=limit, **wanted)

    async def resolve_baseline(
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
        wanted = {
            "repository": repository,
            "model_name": model_name or None,
            "merge_base": merge_base,
            "branch": branch,
            "tag": tag,
        }
        params = {name: value for name, value in wanted.items() if value is not None}
        return await self._calls.json(Request("GET", f"{BASELINES}/resolve", params=params))

    async def set_baseline(
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
        optional = {"note": note} if note is not None else {}
        if model_name:
            optional["model_name"] = model_name
        said = {"repository": repository, "kind": kind, "ref": ref, "job": job_id, "force": force, **optional}
        return await self._calls.json(Request.sending(BASELINES, said, method="PUT"))


def report_address(published: Json, service: str) -> str:
    """Where a report is that was published just now.

    Args:
        published: what the service says of it.
        service: its URL; the address is below that where the service does not know its own.

    Raises:
        ServiceError: it does not say.
    """
    said = published.get("url")
    if isinstance(said, str):
        address = f"{service.rstrip('/')}{said}" if said.startswith("/") else said
        if is_link(address):
            return address
    raise ServiceError(f"the service does not say where the report is; its address is {said!r}")


def check_request(text: str, model: str | None) -> Request:
    """Ask what a gate file says."""
    params = {} if model is None else {"model": model}
    headers = {"Content-Type": "text/yaml; charset=utf-8"}
    return Request(
        "POST", CHECK, params=params, headers=headers, body=text.encode("utf-8", "surrogateescape")
    )


def _said(
    gate_file: str | None,
    policy: Mapping[str, Any] | None,
    baseline: str | Mapping[str, Any] | None,
    transferability: str | None,
    policy_file: str | None,
    report: str | None,
) -> dict[str, Any]:
    fields = {
        "gate_file": gate_file,
        "policy": policy,
        "baseline": baseline,
        "transferability": transferability,
        "policy_file": policy_file,
        "report": report,
    }
    return {name: value for name, value in fields.items() if value is not None}
