"""What an App needs is made in Docker: its volumes, its networks, its containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from portkit.engines import docker_spec, podman
from portkit.engines.docker_errors import errors
from portkit.engines.patience import Patient
from portkit.errors import ConflictError
from portkit.model import AppSpec, Network, RunSpec
from portkit.model.project import TAKEN_REMEDY
from portkit.wire import labels

if TYPE_CHECKING:  # it loads the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Volume

_CONTENTS = "/portkit-content"  # in a container that never runs


class Maker:
    """Makes what one App needs in one engine. podman: whether Podman answers at its socket."""

    def __init__(self, api: Patient, host: str, podman: Callable[[], bool]) -> None:
        self._api, self._host, self._podman = api, host, podman

    def all(self, held: Mapping[str, str], app: AppSpec, identity: str) -> None:
        """Volumes, networks and containers. held: under which name each image is held."""
        self._volumes(app, identity)
        self._networks(app, docker_spec.marks(app, identity))
        self.containers(held, app, identity)

    def containers(self, held: Mapping[str, str], app: AppSpec, identity: str) -> None:
        """The containers alone, with the files that travel with the App."""
        mine = docker_spec.marks(app, identity)
        names = [each.service for each in app.services]
        volumes = dict(zip(names, app.volume_numbers(), strict=True))
        files = dict(zip(names, app.content_numbers(), strict=True))
        there = self._contents_volume(held, app, identity, mine)
        for service in app.in_order:
            with errors(self._host, _what("create the container", app, service)):
                config = docker_spec.host_config(
                    app,
                    service,
                    identity,
                    volumes[service.service],
                    [f"{there}/{number}" for number in files[service.service]],
                )
                if self._podman():
                    config = podman.adapted(config, service)
                self._container(held[service.image], app, service, identity, config)

    def _volumes(self, app: AppSpec, identity: str) -> None:
        for number, name in enumerate(docker_spec.volume_names(app, identity)):
            if app.way(number) is not None:
                continue  # it is the target's own, and stays that: it has no label of the Move
            about = docker_spec.volume_labels(app, identity, number)
            with errors(self._host, "create a volume"):
                # Where one of that name is there already, the engine answers that one.
                made = self._volume(self._api.create_volume(name, labels=about))
            if made.Labels.get(labels.MOVE) != identity:
                raise ConflictError(
                    "a volume with that name already exists",
                    details=f"{name} on {self._host}",
                    resolution=TAKEN_REMEDY,
                )

    def _volume(self, answer: object) -> Volume:
        from portkit.engines.docker_client import Volume, read

        return read(Volume, answer)

    def _networks(self, app: AppSpec, mine: Mapping[str, str]) -> None:
        used = {
            network.name: network for service in app.services for network in app.joined(service)
        }
        for network in used.values():
            with errors(self._host, "create a network"):
                if self._is_there(network):
                    continue
                about = {**network.labels, **docker_spec.network_labels(app, network), **mine}
                self._api.create_network(**docker_spec.network(network), labels=about)

    def _is_there(self, network: Network) -> bool:
        """Whether the engine has it and the App joins it; ConflictError where the App was to have
        one of its own. The engine takes a second network of one name, and then cannot tell them
        apart."""
        rows = self._api.networks(names=[network.engine_name])
        there = any(row.get("Name") == network.engine_name for row in rows)
        if there and not network.external:
            raise ConflictError(
                "a network with that name already exists",
                details=f"{network.engine_name} on {self._host}",
                resolution="Remove what it belongs to (`portkit ps` lists what portkit runs), or "
                "give this App another `name:`.",
            )
        return there

    def _contents_volume(
        self, held: Mapping[str, str], app: AppSpec, identity: str, mine: Mapping[str, str]
    ) -> str:
        """The files that travel with the App, in a volume of their own; where the host has it."""
        data = docker_spec.content_archive(app)
        if not data:
            return ""
        from docker.types import Mount

        from portkit.engines.docker_client import Volume, read

        with errors(self._host, "carry the App's files"):
            name = docker_spec.content_volume(identity)
            made = read(Volume, self._api.create_volume(name, labels={**mine}))
            # The engine writes into a volume only through a container, which need not run.
            filler = self._api.create_container(
                image=next(iter(held.values())),
                entrypoint=["none"],
                labels={**mine},
                host_config=self._api.create_host_config(
                    mounts=[Mount(_CONTENTS, name, "volume", no_copy=True)]
                ),
                use_config_proxy=False,
            )["Id"]
            try:
                self._api.put_archive(filler, _CONTENTS, data)
            finally:
                self._api.remove_container(filler, v=True, force=True)
        return made.Mountpoint

    def _container(
        self,
        image: str,
        app: AppSpec,
        service: RunSpec,
        identity: str,
        config: dict[str, Any],
    ) -> None:
        networks = app.joined(service)
        ends = {
            network.engine_name: docker_spec.endpoint(app, service, network, identity)
            for network in networks
        }
        made = {name: self._api.create_endpoint_config(**end) for name, end in [*ends.items()][:1]}
        container = self._api.create_container(
            image=image,
            host_config=self._api.create_host_config(**config),
            networking_config=self._api.create_networking_config(made) if made else None,
            **docker_spec.container(app, service, identity),
        )
        # One by one: engines before API 1.44 take one network when a container is made.
        for name, end in [*ends.items()][1:]:
            self._api.connect_container_to_network(container["Id"], name, **end)


def _what(doing: str, app: AppSpec, service: RunSpec) -> str:
    return f"{doing} of {service.service}" if app.several else doing
