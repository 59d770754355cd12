import pytest

from portkit.boot import find, refuse_beside, together
from portkit.errors import AppError, ConflictError
from portkit.model import Form, Instance


def instance(number: int, form: Form, status: str = "exited") -> Instance:
    return Instance(f"pk-{number:012x}", "shop", form, "web", status)


BOTH = (instance(1, Form.IMAGE), instance(1, Form.DISK, "running"))


def test_by_id_the_one_that_runs() -> None:
    assert find(BOTH, "pk-000000000001").form is Form.DISK
    assert find(BOTH, "shop", Form.IMAGE).form is Form.IMAGE


def test_one_form_beside_the_other() -> None:
    with pytest.raises(ConflictError) as caught:
        refuse_beside(BOTH, BOTH[0])
    assert caught.value.resolution == "portkit stop shop --form disk --on web"
    refuse_beside(BOTH, BOTH[1])
    refuse_beside((*BOTH, instance(2, Form.IMAGE)), instance(2, Form.IMAGE))


def test_neither_runs_then_the_form_is_needed() -> None:
    rows = (BOTH[0], instance(1, Form.DISK))
    with pytest.raises(AppError, match="several Instances"):
        find(rows, "shop")
    assert len(together(rows, "shop")) == 2


def test_two_moves_of_one_app_need_an_id() -> None:
    rows = (*BOTH, instance(2, Form.IMAGE))
    with pytest.raises(AppError, match="several Instances"):
        together(rows, "shop")
    assert together(rows, "pk-000000000002") == (rows[2],)


def test_nothing_of_that_name() -> None:
    with pytest.raises(AppError, match="no such Instance"):
        find((), "shop")
