"""The report is what its published schema says, and holds no secret."""

import json
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import report
from portkit.delivery import Delivery, Prediction, Transfer
from portkit.model import (
    App,
    Artifact,
    Finding,
    Form,
    ImageConfig,
    Method,
    Service,
    Severity,
    Verdict,
)
from portkit.report import Boot, FormReport, Phase, Report, ServiceBytes
from tests.factories import FACTS, transfer

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/report.schema.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)  # `jsonschema.validate` checks SCHEMA each time
SECONDS = st.floats(0, 1e6, allow_nan=False)
DIGEST = "sha256:" + "0" * 64
SENT = Delivery(
    digest=DIGEST,
    size=9,
    literal=4,
    copied=3,
    zero=2,
    sent=5,
    bases=(DIGEST,),
    encoding="zstd",
    level=3,
    window=27,
    reason="a reason",
    resumed=1,
)
THERE = Delivery(digest=DIGEST, size=9, copied=9, reason="already there")
PREDICTED = Prediction(
    sent_bytes=None, reused_bytes=5, space_bytes=9, seconds=1.5, basis=("a reason",)
)
TRANSFER = transfer(counter="tcp_info", blobs=(SENT, THERE))
ARTIFACT = Artifact(Form.IMAGE, DIGEST, (ImageConfig(DIGEST, "amd64", "linux", ()),), (), 10, 10)


@given(
    st.builds(
        FormReport,
        form=st.sampled_from(Form),
        artifact=st.just(ARTIFACT),
        verdict=st.sampled_from(Verdict),
        findings=st.just((Finding("x", Severity.INFO, "m", ("one; part", "two")),)),
        phases=st.just((Phase("boot", 1.0, 2.0),)),
        transfer=st.none() | st.just(TRANSFER),
        boot=st.none()
        | st.builds(
            Boot,
            engine=st.just("docker"),
            version=st.just("26"),
            accelerator=st.just("none"),
            url=st.just("http://h:80/"),
            status=st.just(200),
            method=st.sampled_from(Method),
            reason=st.text(),
            vantage=st.sampled_from(["direct", "ssh", "engine"]),
            poll_s=st.just(0.02),
            timeout_s=SECONDS,
            timeout_reason=st.text(),
        ),
        from_move_s=st.none() | SECONDS,
        from_boot_s=st.lists(SECONDS, max_size=3).map(tuple),
        predicted=st.none() | st.just(PREDICTED),
        services=st.just((ServiceBytes("web", DIGEST, 9, 5, 0),)),
        state=st.sampled_from(["running", "ready", "removed", ""]),
    )
)
@settings(max_examples=25)
def test_schema(form: FormReport) -> None:
    app = App("a", (Service("a", environment={"PASSWORD": "hunter2"}),), "compose.yaml")
    made = Report("pk-" + "0" * 12, app, FACTS, FACTS, 1, 2, (), (form,))
    document = json.loads(json.dumps(report.to_json(made)))
    VALID.validate(document)
    assert "hunter2" not in json.dumps(document)


def test_a_blob_names_its_bases_and_encoding() -> None:
    blob = {"$ref": "#/$defs/sent", "$defs": SCHEMA["$defs"]}
    row = json.loads(json.dumps(asdict(SENT)))
    assert (row["bases"], row["encoding"]) == ([DIGEST], "zstd")
    jsonschema.validate(row, blob)
    for wrong in ({"bases": ["web1"]}, {"encoding": "gzip"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**row, **wrong}, blob)


def test_a_transfer_comes_back_from_the_journal_as_it_was() -> None:
    row = json.loads(json.dumps(asdict(TRANSFER)))
    assert report.adapter(Transfer).validate_python(row) == TRANSFER
