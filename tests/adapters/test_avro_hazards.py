"""A user's schema with which hostile data could end the process is refused."""

import pytest

from stream_router.adapters.avro.codec import Codec
from stream_router.errors import SettingError


def record(*fields, name="R"):
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": f} for i, f in enumerate(fields)]}


def array(items):
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (record(array("null")), "takes no bytes"),
        (record(array(record(name="Empty"))), "takes no bytes"),
        (record(array(record("null", record("null", name="Inner"), name="Outer"))), "takes no bytes"),
        (record(array({"type": "fixed", "name": "F", "size": 0})), "takes no bytes"),
        (record(record(name="Empty"), array("Empty")), "takes no bytes"),
        (record(["null", "R"]), "recursive"),
        (record(array("R")), "recursive"),
        (record(record(["null", "R"], name="Inner")), "recursive"),
    ],
)
def test_hazardous_schemas_are_refused(schema, said):
    with pytest.raises(SettingError, match=said):
        Codec([schema], "users.avsc")


@pytest.mark.parametrize(
    "schema",
    [
        record("string", array("double"), array(record("int", name="Item"))),
        record(record("int", name="Twice"), "Twice"),
        record(array(["null", "long"]), {"type": "map", "values": "null"}),
    ],
)
def test_harmless_schemas_are_admitted(schema):
    Codec([schema], "users.avsc")
