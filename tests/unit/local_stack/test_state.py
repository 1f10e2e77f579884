"""The state folder: for one stack, for one user; and the ports it remembers."""

import os
import socket
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from fleetkit.tokens import TokenSigner, TokenVerifier
from local_stack.console import readable
from local_stack.options import parse
from local_stack.ports import LOOPBACK, PortBook, PortTaken
from local_stack.state import StateTaken, claimed


def test_a_second_stack_on_the_same_folder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    second = claimed(tmp_path / "state")
    with claimed(tmp_path / "state"), pytest.raises(StateTaken, match=f"process {os.getpid()}.*--state-dir"):
        second.__enter__()


def test_a_folder_is_free_again_after_its_stack(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path / "state") as state:
            assert stat.S_IMODE(state.root.stat().st_mode) == 0o700


def test_token_keys_fit_each_other_are_private_and_stay(tmp_path: Path) -> None:
    with claimed(tmp_path / "state") as state:
        state.make_token_keys()
        private = state.private_key.read_text()
        state.make_token_keys()
        assert state.private_key.read_text() == private
        assert stat.S_IMODE(state.private_key.stat().st_mode) == 0o600
        token = TokenSigner(private).sign(audience="attach", subject="pbs_1", ttl=timedelta(minutes=1))
        assert TokenVerifier(state.public_key.read_text()).verify(token, audience="attach").subject == "pbs_1"


def test_the_description_is_private_and_its_ports_are_remembered(tmp_path: Path) -> None:
    with claimed(tmp_path / "state") as state:
        assert state.previous_ports() == {}
        state.describe({"ports": {"http": 12345}})
        assert state.previous_ports() == {"http": 12345}
        assert stat.S_IMODE(state.description.stat().st_mode) == 0o600


def test_a_damaged_description_is_as_good_as_none(tmp_path: Path) -> None:
    with claimed(tmp_path / "state") as state:
        state.description.write_text("{")
        assert state.previous_ports() == {}


def test_a_port_from_the_last_start_is_given_again_while_it_is_free() -> None:
    port = PortBook().free("http")
    assert PortBook({"http": port}).free("http") == port
    with socket.socket() as other:
        other.bind((LOOPBACK, port))
        other.listen()
        assert PortBook({"http": port}).free("http") != port


def test_a_fixed_port_that_is_taken_is_an_error_that_names_it() -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            PortBook().fixed_or_free("http", port)


def test_options_come_from_the_command_line_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_STACK_HTTP_PORT", "8080")
    monkeypatch.setenv("LOCAL_STACK_NODES", "3")
    options = parse(["up", "--nodes", "1"])
    assert (options.http_port, options.nodes) == (8080, 1)


@pytest.mark.parametrize("arguments", [["--nodes", "0"], ["--http-port", "70000"], ["--slots", "many"]])
def test_senseless_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["up", *arguments])


def test_json_lines_become_readable_and_others_stay() -> None:
    line = '{"ts": "2026-01-01T00:00:00", "level": "info", "svc": "x", "msg": "closed", "session_id": "pbs_1"}'
    assert readable(line) == "info    closed  session_id=pbs_1"
    assert readable("plain words") == "plain words"
    assert readable("42") == "42"
