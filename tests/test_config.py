from __future__ import annotations

import os
from pathlib import Path

import pytest

from backendai_kernel.config import (
    Config,
    config_dir,
    profile_path,
    read_dotenv,
    read_profile,
    state_dir,
    write_private,
    write_profile,
)
from backendai_kernel.errors import ConfigError

KEYPAIR = {"BACKEND_ACCESS_KEY": "AKIAEXAMPLE", "BACKEND_SECRET_KEY": "s3cret"}
CLUSTER = {"BACKEND_ENDPOINT": "https://manager.example.com", **KEYPAIR}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"BACKENDAI_KERNEL_CONFIG": str(tmp_path / "config")}


def profile_in(home: dict[str, str], **settings: str) -> Path:
    path = profile_path(home)
    write_profile(path, settings)
    return path


OTHER = {
    "endpoint": "https://other.example.com",
    "endpoint_type": "api",
    "access_key": "AKIAOTHER",
    "secret_key": "other",
    "group": "research",
}


# -- where a setting comes from ---------------------------------------------------------------


def test_with_nothing_configured_it_is_the_embedded_manager(home):
    config = Config.from_env(home)

    assert config.is_local
    assert (config.endpoint, config.domain, config.group) == ("", "default", "default")
    assert config.sources == {}


def test_the_environment_is_read(home):
    config = Config.from_env(home | CLUSTER | {"BACKEND_GROUP": "research"})

    assert config.endpoint == "https://manager.example.com"
    assert config.endpoint_type == "api"
    assert (config.access_key, config.secret_key) == ("AKIAEXAMPLE", "s3cret")
    assert config.group == "research"
    assert config.sources["group"] == "BACKEND_GROUP (environment)"
    assert "domain" not in config.sources


def test_the_old_names_count_where_the_new_ones_are_missing(home):
    old = {key.replace("BACKEND_", "SORNA_"): value for key, value in CLUSTER.items()}
    config = Config.from_env(home | old | {"BACKEND_ACCESS_KEY": "AKIANEW"})

    assert config.endpoint == "https://manager.example.com"
    assert config.access_key == "AKIANEW"
    assert config.sources["endpoint"] == "SORNA_ENDPOINT (environment)"


def test_a_dotenv_file_wins_over_the_environment(home, tmp_path):
    (tmp_path / ".env").write_text("BACKEND_GROUP=from-file\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    environ = home | CLUSTER | {"BACKEND_GROUP": "from-environment"}

    assert Config.from_env(environ, cwd=below).group == "from-file"
    assert Config.from_env(environ).group == "from-environment"


def test_an_argument_wins_over_everything(home, tmp_path):
    (tmp_path / ".env").write_text("BACKEND_GROUP=from-file\n")
    config = Config.from_env(home | CLUSTER, cwd=tmp_path, group="argument")

    assert config.group == "argument"
    assert config.sources["group"] == "argument"


def test_the_profile_is_used_where_nothing_else_is_said(home):
    path = profile_in(home, **OTHER)
    config = Config.from_env(home)

    assert (config.endpoint, config.access_key) == (OTHER["endpoint"], OTHER["access_key"])
    assert config.sources["access_key"] == str(path)


def test_the_environment_wins_over_the_profile(home):
    profile_in(home, **OTHER)
    config = Config.from_env(home | {"BACKEND_GROUP": "mine"})

    assert (config.endpoint, config.group) == (OTHER["endpoint"], "mine")


def test_a_profile_for_another_endpoint_lends_nothing(home):
    profile_in(home, **OTHER)
    config = Config.from_env(home | CLUSTER)

    assert config.access_key == "AKIAEXAMPLE"
    assert config.group == "default"
    with pytest.raises(ConfigError, match="There is no keypair for"):
        Config.from_env(home | {"BACKEND_ENDPOINT": "https://manager.example.com"})


def test_a_login_through_the_web_does_not_change_what_the_environment_means(home):
    profile_in(home, endpoint="https://web.example.com", endpoint_type="session")

    assert Config.from_env(home).endpoint_type == "session"
    assert Config.from_env(home | CLUSTER).endpoint_type == "api"


def test_the_same_endpoint_in_the_environment_keeps_the_profile(home):
    profile_in(home, **OTHER)
    config = Config.from_env(home | {"BACKEND_ENDPOINT": OTHER["endpoint"] + "/"})

    assert (config.access_key, config.group) == ("AKIAOTHER", "research")


def test_an_empty_setting_is_none(home):
    assert Config.from_env(home | {"BACKEND_ENDPOINT": "", "BACKEND_GROUP": ""}).is_local


# -- what makes sense -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://manager.example.com/", "https://manager.example.com"),
        (" https://manager.example.com ", "https://manager.example.com"),
        ("https://manager.example.com:443", "https://manager.example.com"),
        ("http://manager.example.com:80/bai", "http://manager.example.com/bai"),
        ("http://manager.example.com:443", "http://manager.example.com:443"),
        ("https://manager.example.com:8443", "https://manager.example.com:8443"),
        ("https://a.example.com,https://b.example.com", "https://a.example.com"),
    ],
)
def test_an_endpoint_is_brought_into_one_form(home, written, read):
    assert Config.from_env(home | CLUSTER | {"BACKEND_ENDPOINT": written}).endpoint == read


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"BACKEND_ENDPOINT": "manager.example.com"},
            "The endpoint 'manager.example.com' is not a URL.",
        ),
        ({"BACKEND_ENDPOINT": "ftp://h"}, "The endpoint 'ftp://h' is not a URL."),
        ({"BACKEND_ENDPOINT": "https://"}, "The endpoint 'https:' is not a URL."),
        (
            {"BACKEND_ENDPOINT": "https://h:port"},
            "The endpoint 'https://h:port' is not a URL.",
        ),
        (
            {"BACKEND_ENDPOINT": "https://me:pw@h"},
            "The endpoint has a name or a password in it, which no manager takes.",
        ),
        ({"BACKEND_ENDPOINT": "https://a b"}, "The endpoint 'https://a b' is not a URL."),
        ({"BACKEND_ENDPOINT": "https://h/?a=b"}, "The endpoint 'https://h/?a=b' is not a URL."),
        ({"BACKEND_ENDPOINT_TYPE": "magic"}, "The endpoint type 'magic' is unknown."),
        ({"BACKEND_ENDPOINT_TYPE": "docker"}, "The endpoint type 'docker' is unknown."),
        (
            {"BACKEND_ACCESS_KEY": "A\nB"},
            "The access key has a character in it that no header can carry.",
        ),
        (
            {"BACKEND_SECRET_KEY": "\udcff"},
            "The secret key has a character in it that no header can carry.",
        ),
        ({"BACKEND_SECRET_KEY": ""}, "There is no keypair for https://manager.example.com."),
        ({"BACKEND_ENDPOINT": ""}, "There is a keypair but no endpoint."),
        (
            {"BACKEND_READ_TIMEOUT": "soon"},
            "BACKEND_READ_TIMEOUT is 'soon', which is not a number of seconds.",
        ),
        (
            {"BACKEND_CONNECTION_TIMEOUT": "-1"},
            "BACKEND_CONNECTION_TIMEOUT is '-1', which is not a number of seconds.",
        ),
        (
            {"BACKEND_CONNECTION_TIMEOUT": "nan"},
            "BACKEND_CONNECTION_TIMEOUT is 'nan', which is not a number of seconds.",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(home, settings, sentence):
    with pytest.raises(ConfigError) as caught:
        Config.from_env(home | CLUSTER | settings)

    assert caught.value.message == sentence


def test_a_login_needs_no_keypair(home):
    config = Config.from_env(
        home | {"BACKEND_ENDPOINT": "https://web.example.com", "BACKEND_ENDPOINT_TYPE": "session"}
    )

    assert config.endpoint_type == "session"
    assert config.cookie_file == config_dir(home) / "cookie.json"


@pytest.mark.parametrize(
    ("text", "verifies"), [("yes", False), ("TRUE", False), ("1", False), ("no", True), ("0", True)]
)
def test_certificates_are_trusted_only_when_told(home, text, verifies):
    environ = home | CLUSTER | {"BACKEND_SKIP_SSLCERT_VALIDATION": text}

    assert Config.from_env(environ).verify_tls is verifies


def test_mounts_are_a_list(home):
    assert Config.from_env(home | {"BACKEND_VFOLDER_MOUNTS": "a, b,,c "}).mounts == ("a", "b", "c")


def test_no_secret_is_shown(home):
    config = Config.from_env(home | CLUSTER)

    assert "s3cret" not in repr(config)
    assert "AKIAEXAMPLE" not in config.identity
    assert "s3cret" not in config.identity


def test_the_identity_tells_keypairs_and_endpoints_apart(home):
    configs = [
        Config.from_env(home | CLUSTER),
        Config.from_env(home | CLUSTER | {"BACKEND_ACCESS_KEY": "AKIAOTHER"}),
        Config.from_env(home | CLUSTER | {"BACKEND_ENDPOINT": "https://other.example.com"}),
    ]

    assert len({config.identity for config in configs}) == 3
    assert configs[0].identity == Config.from_env(home | CLUSTER).identity


# -- .env -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("BACKEND_GROUP=research", "research"),
        ("export BACKEND_GROUP=research", "research"),
        ("  BACKEND_GROUP = research  ", "research"),
        ("BACKEND_GROUP='two words'", "two words"),
        ('BACKEND_GROUP="a # b" # comment', "a # b"),
        ("BACKEND_GROUP=research # comment", "research"),
        ("BACKEND_GROUP=a#b", "a#b"),
        ("BACKEND_GROUP=a=b", "a=b"),
        ("BACKEND_GROUP=", ""),
    ],
)
def test_a_line_of_a_dotenv_file(tmp_path, line, value):
    (tmp_path / ".env").write_text(f"# comment\nOTHER=1\n\n{line}\nnonsense\n")

    assert read_dotenv(tmp_path) == (tmp_path / ".env", {"BACKEND_GROUP": value})


def test_the_nearest_dotenv_file_is_the_only_one(tmp_path):
    near = tmp_path / "a"
    near.mkdir()
    (tmp_path / ".env").write_text("BACKEND_DOMAIN=far")
    (near / ".env").write_text("BACKEND_GROUP=near")

    assert read_dotenv(near) == (near / ".env", {"BACKEND_GROUP": "near"})


# -- folders and files ------------------------------------------------------------------------


def test_the_folders_can_be_named():
    environ = {"BACKENDAI_KERNEL_CONFIG": "/etc/c", "BACKENDAI_KERNEL_STATE": "/var/s"}

    assert (config_dir(environ), state_dir(environ)) == (Path("/etc/c"), Path("/var/s"))
    assert config_dir({}).name == state_dir({}).name == "backendai-kernel"


def test_a_profile_comes_back_as_it_was_written(home):
    settings = {
        "endpoint": "https://h/ü",
        "access_key": 'a"b\\c',
        "secret_key": "tab\there\x7f\n'",
        "group": "",
    }
    path = profile_in(home, **settings)

    del settings["group"]
    assert read_profile(path) == settings


@pytest.mark.skipif(os.name != "posix", reason="Windows has no file modes")
def test_a_profile_is_for_its_owner_alone(home):
    before = os.umask(0)
    try:
        path = profile_in(home, **OTHER)
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="Windows has no file modes")
def test_a_secret_that_others_can_read_is_refused(home):
    path = profile_in(home, **OTHER)
    path.chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        Config.from_env(home)

    assert caught.value.message == f"Others can read the secret key in {path}."
    assert caught.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("endpoint", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        ("read_timeout = -3", "read_timeout in the profile .* must be a number of seconds"),
        ("read_timeout = nan", "read_timeout in the profile .* must be a number of seconds"),
        ("colour = 'red'", "has a setting that is not known: colour"),
        ("sources = {}", "has a setting that is not known: sources"),
        ("endpoint = 3", "endpoint in the profile .* must be text"),
        ("verify_tls = 'no'", "verify_tls in the profile .* must be true or false"),
        ("read_timeout = true", "read_timeout in the profile .* must be a number of seconds"),
        ("mounts = 'a'", "mounts in the profile .* must be a list of names"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused(home, text, sentence):
    path = profile_path(home)
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=sentence):
        Config.from_env(home)


def test_a_profile_may_have_other_settings_too(home):
    path = profile_path(home)
    path.parent.mkdir()
    path.write_text("verify_tls = false\nread_timeout = 30\nmounts = ['a', 'b']\n")
    config = Config.from_env(home | CLUSTER)

    assert (config.verify_tls, config.read_timeout, config.mounts) == (False, 30, ("a", "b"))


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "folder"
    (path / "in-the-way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_private(path, b"new")

    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_profile_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_profile(tmp_path / "file" / "profile.toml", OTHER)
