"""URLs of a Redis are checked at the start, and no part of one is shown."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlencode

import pytest
import trustme
from pydantic import ValidationError
from redis.asyncio import BlockingConnectionPool, Redis

from gateway.redis_url import redis_url
from gateway.settings import GatewaySettings
from serving.settings import load

FITTING = [
    "redis://cache",
    "redis://cache:6379",
    "redis://cache:6379/",
    "redis://cache:6379/0",
    "redis://:s3kr%2Fit@cache:6379/12",
    "redis://somebody:s3kr@it@10.0.0.1:6379/0",
    "redis://[::1]:6379/0",
    "redis://cache?db=3",
    "rediss://:s3krit@cache.example.com:6380/0",
    "rediss://cache/0?ssl_cert_reqs=none&ssl_check_hostname=False",
    f"rediss://cache/0?ssl_ca_certs={__file__}&ssl_certfile={__file__}&ssl_keyfile={__file__}&ssl_password=s3kr%2Fit",
    f"rediss://cache/0?ssl_ca_path={Path(__file__).parent}&ssl_min_version=772&ssl_ciphers=HIGH:!aNULL",
    "redis://cache/0?client_name=shop-1&health_check_interval=30&socket_keepalive=yes",
    "rediss://cache/0?client_name=shop-1&health_check_interval=0&socket_keepalive=False",
    "unix:///run/valkey.sock?client_name=shop-1&health_check_interval=30",
    "unix:///run/valkey.sock",
    "unix://somebody:s3krit@/run/valkey.sock?db=1",
    "unix:///run/valkey.sock?username=somebody&password=s3krit",
]
PASSWORD = "percent-encode"
OPTION = "an option that is not known here"
WRONG = {
    "": "must begin with redis://",
    "localhost:6379": "must begin with redis://",
    "http://s3krit": "must begin with redis://",
    "redis://": "names no host",
    "redis://:6379/0": "names no host",
    "redis://two words/0": "names no host",
    "redis://:s3kr/it@host:6379/0": PASSWORD,
    "redis://:123/s3kr@host:6379/0": PASSWORD,
    "redis://somebody:123/s3kr@host:6379/0": PASSWORD,
    "redis://:s3kr#it@host:6379/0": PASSWORD,
    "redis://somebody:123#s3kr@host:6379/0": PASSWORD,
    "redis://:s3kr?it@host:6379/0": PASSWORD,
    "redis://somebody:123?s3kr@host:6379/0": PASSWORD,
    "redis://:s3kr[it@host:6379/0": PASSWORD,
    "redis://[::1/0": "no host and port that can be read",
    "redis://cache:s3kr": "no host and port that can be read",
    "redis://cache:70000": "no host and port that can be read",
    "redis://cache:-1": "no host and port that can be read",
    "redis://cache:0": "port 0",
    "redis://cache/s3kr": "number of a database",
    "redis://cache/-1": "number of a database",
    "redis://cache/1/2": "number of a database",
    "redis://cache?db=s3kr": "number of a database",
    "redis://cache?db=": "number of a database",
    "redis://cache?s3kr=bar": OPTION,
    "redis://cache?s3kr": OPTION,
    "redis://cache?socket_timeout=abc": OPTION,
    "redis://cache?socket_timeout=1": OPTION,
    "redis://cache?max_connections=1": OPTION,
    "redis://cache?protocol=9": OPTION,
    "redis://cache?retry_on_timeout=true": OPTION,
    "redis://cache?client_name=s3kr it": "ASCII without spaces as option client_name",
    "redis://cache?health_check_interval=s3kr": "whole number of seconds as option health_check_interval",
    "redis://cache?health_check_interval=-1": "whole number of seconds as option health_check_interval",
    "redis://cache?socket_keepalive=s3kr": "true or false as option socket_keepalive",
    "redis://cache?ssl_password=s3kr": "goes with rediss:// only",
    f"rediss://cache?ssl_ca_certs={400 * 's3kr'}": "a file that is there as option ssl_ca_certs",
    "rediss://cache?ssl_ca_path=/s3kr": "a folder that is there as option ssl_ca_path",
    "rediss://cache?ssl_ca_data=s3kr": "PEM certificates, percent-encoded, as option ssl_ca_data",
    "rediss://cache?ssl_ca_data=s3kré": "PEM certificates, percent-encoded, as option ssl_ca_data",
    "rediss://cache?ssl_min_version=TLSv1_2": r"771 \(TLS 1.2\) or 772",
    "rediss://cache?ssl_ciphers=s3kr": "ciphers of OpenSSL",
    "unix:///run/valkey.sock?socket_keepalive=true": "does not go with unix://",
    "redis://cache?decode_responses=true": OPTION,
    "redis://cache?ssl_cert_reqs=none": "goes with rediss:// only",
    "rediss://cache?ssl_cert_reqs=s3kr": "none, optional or required",
    "rediss://cache?ssl_check_hostname=s3kr": "true or false",
    "rediss://cache?ssl_ca_certs=/s3kr": "a file that is there as option ssl_ca_certs",
    "unix://": "unix:///path",
    "unix:///": "unix:///path",
    "unix://s3kr/valkey.sock": "unix:///path",
    "unix:///run/valkey.sock?ssl_cert_reqs=none": "goes with rediss:// only",
}


@pytest.mark.parametrize("url", FITTING)
async def test_what_fits_makes_connections(url: str) -> None:
    assert redis_url(url) == url
    async with Redis.from_pool(BlockingConnectionPool.from_url(url, protocol=2)) as redis:
        redis.connection_pool.make_connection()


async def test_options_of_tls_make_a_context(tmp_path: Path) -> None:
    """redis-py makes it with the first connection."""
    authority = trustme.CA().cert_pem.bytes().decode()
    options = {"ssl_ca_data": authority, "ssl_ca_path": tmp_path, "ssl_min_version": 772, "ssl_ciphers": "HIGH"}
    url = redis_url(f"rediss://cache/0?{urlencode(options)}")
    async with Redis.from_pool(BlockingConnectionPool.from_url(url, protocol=2)) as redis:
        context = redis.connection_pool.make_connection().ssl_context.get()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(("url", "says"), WRONG.items(), ids=WRONG.keys())
def test_what_does_not_fit_is_said_without_a_part_of_it(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        redis_url(url)
    assert "s3kr" not in str(error.value)


@pytest.mark.parametrize("name", ["redis_url", "jobs_redis_url"])
@pytest.mark.parametrize("how", ["flag", "variable"])
@pytest.mark.parametrize("url", ["redis://:s3kr/it@host:6379/0", "redis://h?decode_responses=true&a=s3kr", "s3kr"])
def test_the_setting_is_named_and_its_value_is_not_shown(
    name: str, how: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, variable = f"--{name.replace('_', '-')}", f"FERRY_{name.upper()}"
    if how == "variable":
        monkeypatch.setenv(variable, url)
    with pytest.raises(SystemExit) as ended:
        load(GatewaySettings, [flag, url] if how == "flag" else [])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"{flag} (or {variable}): " in said
    assert "s3kr" not in said


def test_settings_and_commands_say_the_same_of_a_beginning_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="must begin with redis:// or rediss:// or unix://") as error:
        redis_url("http://s3krit")
    with pytest.raises(SystemExit):
        load(GatewaySettings, ["--redis-url", "http://s3krit"])
    assert capsys.readouterr().err == f"--redis-url (or FERRY_REDIS_URL): {error.value}\n"


def test_the_error_of_settings_made_in_code_shows_no_value() -> None:
    with pytest.raises(ValidationError) as error:
        GatewaySettings(redis_url="redis://:s3kr/it@host:6379/0")
    assert "s3kr" not in str(error.value)
