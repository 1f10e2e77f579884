"""Mutual TLS between services, with certificates as `deploy/tls/dev-certificates` makes them."""

import asyncio
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from browserfleet.client.calls import open_channel
from browserfleet.client.settings import TlsSettings
from fleetkit.rpc.client import channel
from fleetkit.rpc.health_probe import is_serving
from fleetkit.rpc.server import Serving, serving
from fleetkit.rpc.tls import TlsIdentity, channel_credentials, is_loopback, read_tls
from fleetkit.settings import Secret, SettingsError, SettingsReader

_SCRIPT = Path(__file__).parents[3] / "deploy/tls/dev-certificates"
_OPEN = {"FLEET_GRPC_LISTEN": "0.0.0.0:50051"}
_FILES = {"FLEET_TLS_CERT_FILE": "tls.crt", "FLEET_TLS_KEY_FILE": "tls.key", "FLEET_TLS_CA_FILE": "ca.crt"}


class Nobody:
    """Knows no caller; health needs none."""

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        raise AssertionError("health checks need no credentials")


def _made(folder: Path, *names: str) -> Path:
    subprocess.run([sys.executable, _SCRIPT, folder, *names], check=True, capture_output=True)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    return {variable: str(folder / name) for variable, name in _FILES.items()}


def _read(env: Mapping[str, str], addresses: Mapping[str, str] = _OPEN) -> TlsIdentity | None:
    reader = SettingsReader(env)
    tls = read_tls(reader, addresses)
    reader.finish()
    return tls


def _identity(folder: Path) -> TlsIdentity:
    tls = _read(_environment(folder))
    assert tls is not None
    return tls


def _faults(env: Mapping[str, str], addresses: Mapping[str, str] = _OPEN) -> list[str]:
    with pytest.raises(SettingsError) as failure:
        _read(env, addresses)
    return failure.value.faults


async def _health(opened: grpc.aio.Channel) -> int:
    check = opened.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer: health_pb2.HealthCheckResponse = await check(health_pb2.HealthCheckRequest(), timeout=10)
    return answer.status


async def _served(server: Serving, tls: TlsIdentity | None) -> bool:
    """Tell whether a new connection is served; one that is refused must be so as UNAVAILABLE."""
    async with channel(f"127.0.0.1:{server.port}", retries=False, tls=tls) as opened:
        try:
            return await _health(opened) == health_pb2.HealthCheckResponse.SERVING
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("certificates") / "fleet")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(tmp_path_factory.mktemp("certificates") / "foreign", "reaper")


@pytest.fixture
def mounted(fleet: Path, tmp_path: Path) -> Path:
    """The files of one server, which a test may replace."""
    return shutil.copytree(fleet / "session-api", tmp_path / "mounted")


@pytest.fixture
async def server(mounted: Path) -> AsyncIterator[Serving]:
    tls = await asyncio.to_thread(_identity, mounted)
    async with serving("127.0.0.1:0", [], authenticator=Nobody(), grace=timedelta(0), tls=tls) as server:
        yield server


async def test_services_of_one_ca_reach_each_other(server: Serving, fleet: Path) -> None:
    assert await _served(server, await asyncio.to_thread(_identity, fleet / "reaper"))


async def test_the_python_client_reaches_a_front_door_with_its_certificate(server: Serving, fleet: Path) -> None:
    own = await asyncio.to_thread(_identity, fleet / "client")
    tls = TlsSettings(ca=own.ca, certificate=own.certificate, key=own.key.reveal())
    async with open_channel(f"127.0.0.1:{server.port}", tls=tls) as opened:
        assert await _health(opened) == health_pb2.HealthCheckResponse.SERVING


async def test_a_client_without_a_certificate_is_refused(server: Serving, fleet: Path) -> None:
    credentials = grpc.ssl_channel_credentials(await asyncio.to_thread((fleet / "ca.crt").read_bytes))
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await _health(opened)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_ca_is_refused(server: Serving, fleet: Path, foreign: Path) -> None:
    own, other = [await asyncio.to_thread(_identity, folder / "reaper") for folder in (fleet, foreign)]
    intruder = TlsIdentity(certificate=other.certificate, key=other.key, ca=own.ca)
    assert not await _served(server, intruder)


async def test_a_server_of_another_ca_is_not_called(server: Serving, foreign: Path) -> None:
    assert not await _served(server, await asyncio.to_thread(_identity, foreign / "reaper"))


async def test_a_server_is_not_called_by_a_name_that_it_is_not_certified_for(server: Serving, fleet: Path) -> None:
    credentials = channel_credentials(await asyncio.to_thread(_identity, fleet / "reaper"))
    options = [("grpc.ssl_target_name_override", "artifact-store")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options=options) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await _health(opened)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_to_a_tls_port_is_refused(server: Serving) -> None:
    assert not await _served(server, None)


async def test_a_server_takes_up_replaced_files_without_a_restart(
    server: Serving, mounted: Path, fleet: Path, foreign: Path
) -> None:
    before, after = [await asyncio.to_thread(_identity, folder / "reaper") for folder in (fleet, foreign)]
    assert await _served(server, before)
    await asyncio.to_thread(shutil.copytree, foreign / "reaper", mounted, dirs_exist_ok=True)
    assert await _served(server, after)
    assert not await _served(server, before)


async def test_half_replaced_files_change_nothing_until_the_rest_follows(
    server: Serving, mounted: Path, fleet: Path, foreign: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = [await asyncio.to_thread(_identity, folder / "reaper") for folder in (fleet, foreign)]
    for name in ("tls.crt", "ca.crt"):
        await asyncio.to_thread(shutil.copy, foreign / "reaper" / name, mounted)
        assert await _served(server, before)
        assert await _served(server, before)
    await asyncio.to_thread((mounted / "tls.key").unlink)
    assert await _served(server, before)
    await asyncio.to_thread(shutil.copy, foreign / "reaper/tls.key", mounted)
    assert await _served(server, after)
    # Once for each change, not for each connection.
    assert len(caplog.records) == 3


async def test_the_health_probe_uses_the_certificate_of_its_server(server: Serving, fleet: Path) -> None:
    address = f"127.0.0.1:{server.port}"
    own = await asyncio.to_thread(_identity, fleet / "session-api")
    assert await asyncio.to_thread(is_serving, address, tls=own)
    assert not await asyncio.to_thread(is_serving, address, tls=None)


async def test_the_health_probe_reads_the_variables_of_its_server(server: Serving, fleet: Path) -> None:
    probe = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleetkit.rpc.health_probe", f"127.0.0.1:{server.port}"),
        env={**_environment(fleet / "session-api"), "FLEET_GRPC_LISTEN": "0.0.0.0:50051"},
    )
    assert await probe.wait() == 0


def test_the_script_keeps_its_ca_and_lets_nobody_else_in(fleet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fleet, tmp_path / "again")
    folder.chmod(0o755)
    _made(folder, "reaper")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    assert _identity(folder / "reaper").ca == _identity(fleet / "reaper").ca
    assert _identity(folder / "reaper").certificate != _identity(fleet / "reaper").certificate


def test_the_script_leaves_a_folder_with_other_things_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    mode = tmp_path.stat().st_mode
    with pytest.raises(subprocess.CalledProcessError):
        _made(tmp_path)
    assert tmp_path.stat().st_mode == mode
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_certificates_may_be_given_as_text(fleet: Path) -> None:
    texts = {variable: (fleet / "reaper" / name).read_text() for variable, name in _FILES.items()}
    tls = _read({variable.removesuffix("_FILE"): text for variable, text in texts.items()})
    assert tls is not None
    assert tls.key == Secret(texts["FLEET_TLS_KEY_FILE"])
    assert "PRIVATE" not in repr(tls)


@pytest.mark.parametrize("missing", _FILES)
def test_two_of_three_variables_are_a_fault(fleet: Path, missing: str) -> None:
    env = {variable: path for variable, path in _environment(fleet / "reaper").items() if variable != missing}
    [fault] = _faults(env)
    assert fault.startswith(f"{missing.removesuffix('_FILE')}: is required beside FLEET_TLS_")


def test_plaintext_beyond_this_machine_is_a_fault_that_names_both_ways_out() -> None:
    addresses = {**_OPEN, "FLEET_STORE": "127.0.0.1:1", "FLEET_ABSENT": "", "FLEET_SESSION_API": "session-api:50051"}
    [fault] = _faults({}, addresses)
    assert fault.startswith("FLEET_GRPC_LISTEN, FLEET_SESSION_API: ")
    for way_out in ("FLEET_TLS_CERT", "FLEET_TLS_KEY", "FLEET_TLS_CA", "FLEET_ALLOW_PLAINTEXT=true"):
        assert way_out in fault


def test_plaintext_is_served_where_it_is_allowed_or_stays_on_this_machine() -> None:
    assert _read({"FLEET_ALLOW_PLAINTEXT": "true"}) is None
    assert _read({}, {"FLEET_GRPC_LISTEN": "127.0.0.1:50051"}) is None
    # As compose files leave out a variable.
    assert _read({"FLEET_TLS_CERT": "", "FLEET_TLS_KEY": "", "FLEET_TLS_CA": ""}, {}) is None


def test_every_fault_is_reported_at_once(fleet: Path, foreign: Path, tmp_path: Path) -> None:
    env = {
        **_environment(fleet / "reaper"),
        "FLEET_TLS_KEY_FILE": str(foreign / "reaper/tls.key"),
        "FLEET_TLS_CA_FILE": str(tmp_path / "absent"),
        "FLEET_TLS_CERTS": "x",
        "FLEET_ALLOW_PLAINTEXT": "perhaps",
    }
    assert [fault.split(":")[0] for fault in _faults(env)] == [
        "FLEET_ALLOW_PLAINTEXT",
        "FLEET_TLS_CA",
        "FLEET_TLS_KEY",
        "FLEET_TLS_CERTS",
    ]


def test_what_is_no_pem_is_a_fault_that_does_not_print_it() -> None:
    faults = _faults({"FLEET_TLS_CERT": "hunter2", "FLEET_TLS_KEY": "hunter2", "FLEET_TLS_CA": "hunter2"})
    assert [fault.split(":")[0] for fault in faults] == ["FLEET_TLS_CERT", "FLEET_TLS_KEY", "FLEET_TLS_CA"]
    assert "hunter2" not in "".join(faults)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.8.8:0", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("unix:/run/fleet.sock", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        (":50051", False),
        ("10.0.0.7:50051", False),
        ("session-api:50051", False),
        ("dns:///session-api:50051", False),
        ("localhost.example:50051", False),
        ("ipv4:127.0.0.1:1,10.0.0.7:1", False),
        ("", False),
    ],
)
def test_an_address_is_loopback_by_its_looks(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
