"""A Kubernetes manifest for the image form of an App. Pure.

Each service is a Deployment, or a Job where others wait for its end; each volume a claim; each name
that services know each other by a headless Service, which, as in compose, leads to every port; what
a service publishes is a Service of type LoadBalancer. Source: Kubernetes API reference, v1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from portkit.errors import AppError
from portkit.export import kubernetes_files, kubernetes_lacks, kubernetes_pod, kubernetes_ports
from portkit.export.kubernetes_names import label, labels, selector, volume_names
from portkit.model import AppSpec, Condition, Finding, ImageConfig, RunSpec
from portkit.wire.json_types import JsonObject


@dataclass(frozen=True)
class ImageName:
    """How a manifest names the image of a service, and when the nodes pull it."""

    reference: str
    pull_policy: str


@dataclass(frozen=True)
class Manifests:
    """documents: without a value of the environment and a file that may hold a secret. secrets:
    these. findings: what they cannot say."""

    documents: tuple[JsonObject, ...]
    secrets: tuple[JsonObject, ...] = field(repr=False)
    findings: tuple[Finding, ...] = ()


def manifests(
    app: AppSpec, images: Mapping[str, ImageConfig], names: Mapping[str, ImageName]
) -> Manifests:
    """Those of an App whose files were read (`portkit.app.filled`).

    images, names: by service. AppError where two services, or two objects of one kind, would have
    one name in Kubernetes.
    """
    _check_names(app)
    volumes = volume_names(app)
    documents: list[JsonObject] = [_claim(app, name) for name in dict.fromkeys(volumes.values())]
    secrets: list[JsonObject] = []
    findings: list[Finding] = []
    for service in app.services:
        image, files = images[service.service], kubernetes_files.placed(app, service)
        documents += files.config_maps
        secrets += files.secrets
        environment = kubernetes_pod.environment(service, image)
        if environment:
            secrets.append(kubernetes_files.environment_secret(app, service, environment))
        pod = kubernetes_pod.pod(
            app, service, image, environment=tuple(environment), files=files, volumes=volumes
        )
        container = pod["containers"][0]
        name = names[service.service]
        container["image"], container["imagePullPolicy"] = name.reference, name.pull_policy
        documents.append(_workload(app, service, pod))
        documents += _services(app, service)
        findings += (*files.findings, *kubernetes_lacks.findings(app, service, image))
    _check_objects([*documents, *secrets])
    return Manifests(tuple(documents), tuple(secrets), tuple(findings))


def _check_names(app: AppSpec) -> None:
    names = [name for service in app.services for name in _known_as(app, service)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise AppError(
            "two services of the App would get the same name in Kubernetes",
            details=", ".join(sorted(twice)),
            resolution="Give them names and aliases of lower-case letters, digits and -.",
        )


def _check_objects(documents: Sequence[JsonObject]) -> None:
    """The second one would silently take the place of the first."""
    names = Counter((row["kind"], row["metadata"]["name"]) for row in documents)
    if twice := [f"{kind} {name}" for (kind, name), times in names.items() if times > 1]:
        raise AppError(
            "two objects of the App would get the same name in Kubernetes",
            details=", ".join(twice)[:500],
            resolution="Give the services shorter names (Kubernetes allows 63 characters) that "
            "do not end with -published, -environment or -file-NUMBER.",
        )


def _known_as(app: AppSpec, service: RunSpec) -> tuple[str, ...]:
    """The names by which other services reach it, as Kubernetes can have them."""
    aliases = (alias for place in service.networks for alias in place.aliases)
    return tuple(dict.fromkeys(label(name) for name in (service.service, *aliases)))


def _claim(app: AppSpec, name: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels(app)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": str(app.machine.volume_bytes)}},
        },
    }


def _workload(app: AppSpec, service: RunSpec, pod: JsonObject) -> JsonObject:
    about = {"name": label(service.service), "labels": labels(app, service)}
    template = {"metadata": {"labels": labels(app, service)}, "spec": pod}
    if ends(app, service):
        pod["restartPolicy"] = "Never"
        spec = {"backoffLimit": 0, "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": spec}
    pod["restartPolicy"] = "Always"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": about,
        "spec": {
            "replicas": 1,
            # A volume has one writer: the old pod is gone before a new one begins.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector(app, service)},
            "template": template,
        },
    }


def ends(app: AppSpec, service: RunSpec) -> bool:
    """Whether it is a job: another service waits until it has ended well."""
    waited = (need for other in app.services for need in other.depends_on)
    return any(
        need.service == service.service and need.condition is Condition.COMPLETED for need in waited
    )


def _services(app: AppSpec, service: RunSpec) -> Iterator[JsonObject]:
    if app.several and not service.network_mode:
        for name in _known_as(app, service):
            yield _service(app, service, name, {"clusterIP": "None"})
    if ports := kubernetes_ports.published(service):
        name = label(f"{service.service}-published")
        yield _service(app, service, name, {"type": "LoadBalancer", "ports": ports})


def _service(app: AppSpec, service: RunSpec, name: str, more: JsonObject) -> JsonObject:
    # A name leads to its service from the start on, as in compose, also before that is healthy.
    early = {"publishNotReadyAddresses": True} if "clusterIP" in more else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels(app, service)},
        "spec": {"selector": selector(app, service), **early, **more},
    }
