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
        ("-r other.txt", "-r: options are not read"),
        ("-e .", "-e: options are not read"),
        ("--index-url https://host/simple", "--index-url: options are not read"),
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
        "--extra-index-url https://me:hunter2@host/",
        "pkg @ https://me:hunter2@host/x.whl",
        "git+https://me:hunter2@host/x",
    ],
)
def test_no_credentials_are_repeated(line):
    error = refused(line)
    assert "hunter2" not in error.message + error.fix
