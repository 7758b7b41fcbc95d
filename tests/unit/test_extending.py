"""What docs/extending.md asks for is there: a step that is forgotten fails here."""

import ast
import inspect
import itertools
import re
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import AsyncClient, Client
from pushserve_client.cli.app import app
from pushserve_runtime.job_spec import ENDINGS, SAFE_FORMATS, Format
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_sandbox.loading.artifact import _LOADERS
from pushserve_sandbox.onnx_compiler.convert import _MODULES
from pushserve_server import errors, settings
from pushserve_server.api import record_messages
from pushserve_server.api.server import PREDICT_METHODS
from pushserve_server.api.servicer import ModelService
from pushserve_server.api.status import STATUS_CODES
from pushserve_server.config import load_settings
from pushserve_server.domain.records import (
    Deployment,
    EngineName,
    Event,
    Failure,
    Model,
    Ref,
    Version,
)
from pushserve_server.domain.states import DeploymentState
from pushserve_webhook.settings import WebhookSettings
from tests.fixtures.import_rules import PAGE, ROOT, names, our_sources, read_rules

DOCS = ROOT / "docs"
RPCS = [method.name for method in pb.DESCRIPTOR.services_by_name["ModelService"].methods]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows(page: str, heading: str = "") -> list[list[str]]:
    """Give the cells of every row of the tables of a page, or of those below one heading."""
    text = (DOCS / page).read_text()
    if heading:
        text = re.split(r"(?m)^#+ ", text.partition(f"# {heading}\n")[2])[0]
    cut = re.compile(r"(?<!\\)\|")
    return [
        [cell.strip() for cell in cut.split(line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]


def test_the_page_names_tests_that_there_are():
    there = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "extending.md").read_text()))
    assert set() == {name for name in named if f"def {name}(" not in there}


def test_the_page_names_places_that_there_are():
    named = re.findall(r"`([\w./-]+/[\w./-]+)`", (DOCS / "extending.md").read_text())
    assert len(named) > 20
    assert set() == {name for name in named if not (ROOT / name).exists()}


# Formats


def test_every_format_has_an_ending():
    assert set(ENDINGS.values()) == set(Format) - {Format.SCRIPT}


def test_every_format_is_read():
    """A graph is opened by ONNX Runtime, a predict.py is run; all else has a reader."""
    assert set(_LOADERS) == set(Format) - {Format.ONNX, Format.SCRIPT}


def test_every_format_is_documented():
    trust = {
        name: names(cells[1])[0]
        for cells in rows("repository.md", "Formats")[1:]
        for name in cells[0].replace("`", "").lower().split(", ")
    }
    wanted = {str(f): f'trust = "{"data" if f in SAFE_FORMATS else "code"}"' for f in Format}
    assert wanted == trust


# RPCs


@pytest.mark.parametrize("rpc", RPCS)
def test_every_rpc_is_answered(rpc):
    assert hasattr(ModelService, rpc) or rpc in PREDICT_METHODS


def test_every_rpc_has_a_method_in_both_clients():
    lines = [cells for cells in rows("client.md") if names(cells[0])]
    methods = {names(cells[0])[0]: names(cells[1]) for cells in lines if len(cells) == 3}
    assert sorted(RPCS) == sorted(methods)
    for method in (one for some in methods.values() for one in some):
        assert callable(getattr(Client, method))
        assert callable(getattr(AsyncClient, method))


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("rpc", RPCS)
def test_every_rpc_is_called_by_both_clients(rpc, client):
    assert re.search(rf"_stub\.{rpc}\b", inspect.getsource(client))


def test_both_clients_have_the_same_methods():
    def public(client):
        return {name for name in vars(client) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


def test_every_command_is_documented():
    table = " ".join(cells[0] for cells in rows("client.md", "Command")[1:])
    listed = {name for text in names(table) for name in text.split()[:1]}
    assert set(typer.main.get_command(app).commands) == listed


SIGNATURE = Signature(
    Layout.TABLE,
    (Feature("town", DType.STRING, nullable=True, categories=("Ulm",)),),
    (OutputSpec("label", DType.STRING, 1, ("a",)),),
    ("label",),
)
REF = Ref("refs/heads/main", 2, "a" * 40, 1, "b" * 40, NOW)
REPORT = {"engine_reason": "why", "format": "skops", "size_bytes": 1, "examples_checked": 1}
EVENT = Event(DeploymentState.READY, "done", NOW)
RECORDS = {
    "Ref": record_messages.ref_to_proto(REF),
    "Model": record_messages.model_to_proto(Model("iris", "https://h/i", "p", "m", (REF,), NOW)),
    "Version": record_messages.version_to_proto(
        Version(1, "iris", 2, "a" * 40, EngineName.ONNX, "d" * 64, SIGNATURE, REPORT, NOW)
    ),
    "Deployment": record_messages.deployment_to_proto(
        Deployment(
            id=1,
            name="d-1",
            source="https://h/i",
            path="p",
            ref="refs/heads/main",
            commit="a" * 40,
            model="iris",
            version=2,
            state=DeploymentState.FAILED,
            message="failed",
            failure=Failure("REASON", DeploymentState.BUILDING, "what", "fix"),
            superseded_by="d-2",
            attempt=1,
            moved_generation=7,
            failures=0,
            created_at=NOW,
            updated_at=NOW,
            events=(EVENT,),
        )
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_record_s_message_is_set(name):
    """Each of the records above has no field that is empty, so no field may be missing."""
    assert set() == set(_unset(RECORDS[name]))


def _unset(message):
    present = {field.name: value for field, value in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        value = present.get(field.name)
        if value is None:
            yield f"{message.DESCRIPTOR.name}.{field.name}"
        elif field.message_type and field.message_type.file is pb.DESCRIPTOR:
            for one in value if field.is_repeated else [value]:
                yield from _unset(one)


@pytest.mark.parametrize(
    ("table", "enum", "of_ours"),
    [
        (record_messages.DTYPE_TO_PROTO, pb.DataType, DType),
        (record_messages.ENGINE_TO_PROTO, pb.Engine, EngineName),
        (record_messages.STATE_TO_PROTO, pb.DeploymentState, DeploymentState),
    ],
)
def test_every_value_of_an_enumeration_has_its_other_side(table, enum, of_ours):
    assert set(of_ours) == set(table)
    assert set(enum.values()) - {0} == set(table.values())


# Settings


def test_every_setting_has_a_comment():
    tree = ast.parse(Path(settings.__file__).read_text())
    body = next(n.body for n in tree.body if getattr(n, "name", "") == "Settings")
    comments = {
        before.target.id
        for before, after in itertools.pairwise(body)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr)
    }
    assert {field.name for field in fields(settings.Settings)} == comments


def test_every_setting_is_documented_with_its_default():
    table = {names(cells[0])[0]: cells for cells in rows("settings.md") if names(cells[0])}
    assert {field.name for field in fields(settings.Settings)} == set(table)
    plain = load_settings({"data_dir": "data"})
    for name, (_, default, meaning) in table.items():
        assert meaning
        value = names(default)[0] if default.startswith("`") else None
        if value is not None:
            given = load_settings({name: _parsed(value)})
            assert getattr(plain, name) == getattr(given, name), name


def _parsed(text: str) -> object:
    return ast.literal_eval(text) if text.startswith("[") else text


def test_the_webhook_s_settings_are_the_server_s():
    server = {field.name: field for field in fields(settings.Settings)}
    for name, field in WebhookSettings.model_fields.items():
        default = field.default
        plain = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        assert server[name].default == plain


# Converters


def test_converters_are_found():
    """A module of the folder has a `register`, or is a helper that the layers name."""
    folder = "pushserve_sandbox.onnx_compiler.converters"
    there = {name for name in our_sources() if name.startswith(f"{folder}.")}
    assert there == {module.__name__ for module in _MODULES}
    helpers = {m.__name__.rpartition(".")[2] for m in _MODULES if not hasattr(m, "register")}
    layers = read_rules(PAGE.read_text()).layers[folder]
    assert helpers <= {name for layer in layers for name in layer}


def test_every_converter_is_in_the_table():
    import lightgbm  # noqa: F401 (their converters are there when they are)
    import xgboost  # noqa: F401
    from skl2onnx.common._registration import _converter_pool

    for module in _MODULES:
        if hasattr(module, "register"):
            module.register()
    ours = {alias.removeprefix("Pushserve") for alias in _converter_pool if "Pushserve" in alias}
    assert len(ours) > 40
    listed = {cells[0] for cells in rows("compile.md")}
    words = {word for cell in listed for word in re.findall(r"\w+", cell)}
    assert {"Mark"} == ours - words  # a step of the compiler's own


# Reasons


NO_REASONS = {
    "sandbox/admission/costs.py": "names of ONNX",
    "sandbox/admission/operators.py": "names of ONNX",
    "sandbox/isolation": "names of the kernel",
    "runtime/forking.py": "environment variables",
    "runtime/job_policy.py": "environment variables",
    "server/access/certificates.py": "names of OpenSSL",
    "server/commands": "environment variables",
    "server/config.py": "environment variables",
    "server/domain/states.py": "states",
    "server/processes/main.py": "environment variables",
    "server/registry/database.py": "SQL",
    "server/registry/migrations": "SQL",
    "server/registry/tables.py": "SQL",
    "server/source/command.py": "environment variables",
    "webhook/settings.py": "environment variables",
}
"""Where capitals between quotes are something else than reasons."""
NO_REASON = {"HEAD", "UNAUTHENTICATED", "NFKD", "OU", "US", "POST", "MAX_CONTENT_LENGTH", "FOLDER"}
GIT_S_TROUBLES = {"REDIRECTED", "DUBIOUS_OWNERSHIP", "UNKNOWN_HOST_KEY"}
"""Causes within source/failures.py; all of them are REPOSITORY_NOT_FOUND to the caller."""
NOT_FOUND = {f"{kind}_NOT_FOUND" for kind in ("MODEL", "REF", "VERSION", "DEPLOYMENT", "SOURCE")}


def reasons_in_code() -> set[str]:
    """Find every text in capitals in modules that raise something for people to read."""
    found = set(NOT_FOUND)
    for root in ("server", "webhook"):
        for path in (ROOT / root).rglob("*.py"):
            where = str(path.relative_to(ROOT / root)).removeprefix("pushserve_")
            if not any(where.startswith(part) for part in NO_REASONS):
                found |= _capitals(ast.parse(path.read_text()))
    return found - NO_REASON - GIT_S_TROUBLES


def _capitals(tree: ast.AST) -> set[str]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[A-Z]{2,}(_[A-Z0-9]+)*", node.value)
    }


def reasons_in_docs() -> set[str]:
    texts = [
        *(row[0] for row in rows("errors.md", "Reasons of pushes")),
        *(row[0] for row in rows("errors.md", "Reasons of calls")),
        *(row[0] for row in rows("errors.md", "Reasons of the webhook")),
    ]
    found = {name for text in texts for name in re.findall(r"`([A-Z_]+)`", text)}
    return {name for name in found if not name.startswith("PUSHSERVE_")}


def test_every_reason_is_documented():
    assert set() == reasons_in_code() - reasons_in_docs()


def test_every_reason_of_the_docs_can_come():
    assert set() == reasons_in_docs() - reasons_in_code()


def _subclasses(kind: type) -> set[type]:
    return {kind, *(below for child in kind.__subclasses__() for below in _subclasses(child))}


def test_every_error_has_a_status_and_a_row():
    ours = {
        kind
        for kind in _subclasses(errors.PushserveError) - {errors.PushserveError}
        if kind.__module__ == errors.__name__
    }
    assert ours == set(STATUS_CODES)
    table = {
        names(cells[1])[0]: names(cells[0])[0] for cells in rows("errors.md", "Errors of calls")[1:]
    }
    assert {kind.__name__: code.name for kind, code in STATUS_CODES.items()} == table
