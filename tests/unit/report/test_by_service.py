"""What was sent for each of several services."""

from dataclasses import replace

from portkit import report
from portkit.delivery import Delivery
from portkit.model import Artifact, Blob, Form, ImageConfig
from portkit.report import ServiceBytes
from tests.factories import spec

WEB, JOB, BASE, OWN, EXTRA = (f"sha256:{digit * 64}" for digit in "12345")
SIZES = {WEB: 10, JOB: 11, BASE: 1000, OWN: 300, EXTRA: 70}
IMAGE = Artifact(
    form=Form.IMAGE,
    digest=WEB,
    images=(
        ImageConfig(WEB, "amd64", "linux", (BASE, OWN)),
        ImageConfig(JOB, "amd64", "linux", (BASE, EXTRA, EXTRA)),
    ),
    blobs=tuple(Blob(digest, size) for digest, size in SIZES.items()),
    logical_bytes=0,
    stored_bytes=0,
)


def services(**images: str):
    return [replace(spec(), service=name, image=image) for name, image in images.items()]


def sent(**streams: int) -> list[Delivery]:
    digests = {"web": WEB, "job": JOB, "base": BASE, "own": OWN, "extra": EXTRA}
    return [
        Delivery(digest=digests[name], size=SIZES[digests[name]], sent=size, reason="a reason")
        for name, size in streams.items()
    ]


def test_what_services_share_counts_for_each_and_is_told() -> None:
    found = report.by_service(
        services(web=WEB, job=JOB), IMAGE, sent(web=5, job=6, base=400, own=100, extra=30)
    )
    assert found == (
        ServiceBytes("web", WEB, bytes=1310, sent_bytes=505, shared_bytes=400),
        ServiceBytes("job", JOB, bytes=1081, sent_bytes=436, shared_bytes=400),
    )
    once = sum(row.sent_bytes - row.shared_bytes for row in found) + 400
    assert once == 5 + 6 + 400 + 100 + 30


def test_two_services_of_one_image_share_all_of_it() -> None:
    found = report.by_service(services(a=WEB, b=WEB), IMAGE, sent(web=5, base=400))
    assert [(row.sent_bytes, row.shared_bytes) for row in found] == [(405, 405), (405, 405)]


def test_one_service_alone_is_the_whole() -> None:
    assert report.by_service(services(web=WEB), IMAGE, sent(web=5)) == ()
