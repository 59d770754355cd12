"""Apps of several services, and what one place refuses of them for now."""

import pytest

from portkit.errors import AppError
from portkit.model import App, Content, Service


def test_one_service_is_the_only_one() -> None:
    service = Service("web")
    app = App("shop", (service,), "./shop")
    assert (app.service, app.front_service) == (service, service)


def test_several_services_are_refused_where_one_is_asked_for() -> None:
    app = App("shop", (Service("web"), Service("db")), "./shop", front="db")
    assert app.front_service.name == "db"
    with pytest.raises(AppError, match="portkit moves one service for now") as caught:
        _ = app.service
    assert "web, db" in caught.value.details


def test_files_beside_the_image_are_refused_and_never_shown() -> None:
    content = Content("/run/secrets/key", data=b"hunter2")
    app = App("shop", (Service("web", contents=(content,)),), "./shop")
    with pytest.raises(AppError, match="does not carry files") as caught:
        _ = app.service
    assert "/run/secrets/key" in caught.value.details
    assert "hunter2" not in repr(app) + str(caught.value)
