"""Whether requirements.txt holds in the environment that the tests run in."""

from importlib.metadata import version

import pytest

from pushserve_server.build.requirements import check_requirements
from pushserve_server.errors import DeploymentFailed

SKLEARN = version("scikit-learn")


def refused(content: str | bytes) -> DeploymentFailed:
    with pytest.raises(DeploymentFailed) as caught:
        check_requirements(content.encode() if isinstance(content, str) else content)
    assert "REQUIREMENTS_NOT_SATISFIED" == caught.value.reason
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing\n\n",
        "scikit-learn\nnumpy>=1",
        "Scikit_Learn",
        f"scikit-learn=={SKLEARN}  # as trained",
        f"scikit-learn=={SKLEARN} \\\n    --hash=sha256:{'0' * 64}",
        'pywin32==1; sys_platform == "win32"',
        "psycopg[binary]>=3",
        "\ufeffnumpy",
    ],
)
def test_what_is_installed_is_accepted(content):
    check_requirements(content.encode())


def test_a_freeze_of_powershell_is_read():
    check_requirements("numpy\r\n".encode("utf-16"))
    assert "pandas==0.1" in refused("numpy\r\npandas==0.1\r\n".encode("utf-16")).message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scikit-learn==1.3.2", f"scikit-learn==1.3.2: {SKLEARN} is installed"),
        ("no-such-package>=1", "no-such-package>=1: not installed"),
        ("-r other.txt", "-r: other files are not read; write their lines here"),
        ("-rother.txt", "this option is not known"),
        ("--requirement=other.txt", "--requirement: other files are not read"),
        ("-e .", "-e: packages are not installed from folders"),
        ("--made-up https://host/simple", "--made-up: this option is not known"),
        ("python>=3.99", "python>=3.99: the server runs Python 3"),
        ("sklearn==0.1", f"sklearn==0.1: {SKLEARN} is installed"),
        ("pkg @ https://host/pkg.whl", "pkg: packages from addresses"),
        ("git+https://host/pkg", "not a requirement"),
        ("a b c", "a b c: not a requirement"),
        ("numpy==0.1; python_version >= '3'", "is installed"),
        ("pandas[aws]", "(needs s3fs): not installed"),
    ],
)
def test_a_line_that_differs_is_named(line, said):
    assert said in refused(f"numpy\n{line}\n").message


def test_each_line_that_differs_is_named_with_one_that_would_hold():
    error = refused("scikit-learn==1.3.2\nnumpy\nnot-there\npandas<1\n")
    assert ["scikit-learn==1.3.2", "not-there", "pandas<1"] == [
        line.split(":")[0] for line in error.message.splitlines()[1:]
    ]
    assert f"\nscikit-learn=={SKLEARN}\n" in error.fix
    assert f"\npandas=={version('pandas')}\n" in error.fix


@pytest.mark.parametrize(
    "line",
    [
        "xgboost>=2.0",  # installed as xgboost-cpu
        "xgboost-cpu>=2.0",
        "sklearn",
        f"sklearn=={SKLEARN}",
        "python>=3.9",
        "jupyter==1.0.0",
        "ipykernel",
        "--index-url https://host/simple",
        "--extra-index-url=https://host/simple",
        "--only-binary :all:",
    ],
)
def test_lines_as_people_have_them_hold(line):
    check_requirements(f"numpy\n{line}\n".encode())


@pytest.mark.parametrize(
    "line",
    [
        "--made-up-url https://me:hunter2@host/",
        "pkg @ https://me:hunter2@host/x.whl",
        "git+https://me:hunter2@host/x",
    ],
)
def test_no_credentials_are_repeated(line):
    error = refused(line)
    assert "hunter2" not in error.message + error.fix
