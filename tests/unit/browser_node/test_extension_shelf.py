"""The operator's extensions are taken as they should be, or the node does not start and says why."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from browser_node.adapters.chromium.extensions.copies import place_copy
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.extensions.shelf import UnusableExtensions, stocked_shelf
from browser_node.domain.errors import OptionUnavailable


def an_extension(folder: Path, **changes: Any) -> Path:  # a manifest may say anything
    folder.mkdir(parents=True)
    manifest = {"manifest_version": 3, "name": "Mine", "version": "1.2.3", **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "lib").mkdir()
    (folder / "lib" / "code.js").write_text("1")
    return folder


async def faults_of(tmp_path: Path, *, ad_blocker: Path | None = None) -> list[str]:
    with pytest.raises(UnusableExtensions) as raised:
        async with stocked_shelf(tmp_path / "shelf", extensions=tmp_path / "theirs", ad_blocker=ad_blocker):
            pass
    assert not (tmp_path / "shelf").exists()
    return raised.value.faults


async def test_the_shelf_holds_copies_that_nobody_changes_afterwards(tmp_path: Path) -> None:
    theirs = an_extension(tmp_path / "theirs" / "mine")
    (theirs / "_metadata").mkdir()
    (tmp_path / "theirs" / ".git").mkdir()
    theirs.joinpath("lib", "code.js").chmod(0o666)
    async with stocked_shelf(tmp_path / "shelf", extensions=tmp_path / "theirs", ad_blocker=None) as shelf:
        assert shelf.names == ("ad-blocker", "mine")
        mine = shelf.get("mine")
        assert mine is not None
        (theirs / "lib" / "code.js").write_text("2")
        assert (mine.folder / "lib" / "code.js").read_text() == "1"
        assert (mine.folder / "lib" / "code.js").stat().st_mode & 0o777 == 0o444
        assert not (mine.folder / "_metadata").exists()
        assert (mine.manifest.name, mine.manifest.version) == ("Mine", "1.2.3")
    assert not (tmp_path / "shelf").exists()


async def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    an_extension(theirs / "old", manifest_version=2)
    an_extension(
        theirs / "far-reaching", permissions=["debugger", {"proxy": []}], optional_permissions=["nativeMessaging"]
    )
    an_extension(theirs / "nameless", name=" ", version="1.x")
    an_extension(theirs / "odd", permissions="all")
    an_extension(theirs / "ad-blocker")
    an_extension(theirs / "Capital")
    (theirs / "packed.crx").write_bytes(b"Cr24")
    (theirs / "empty").mkdir()
    an_extension(theirs / "linked").joinpath("passwd").symlink_to("/etc/passwd")
    (theirs / "broken").mkdir()
    (theirs / "broken" / "manifest.json").write_text("[" * 100_000)
    (theirs / "list").mkdir()
    (theirs / "list" / "manifest.json").write_text("[]")
    assert sorted(await faults_of(tmp_path, ad_blocker=tmp_path / "none")) == [
        "'Capital': a name has small letters, digits, dots, dashes and underscores, at most 64",
        "ad-blocker: has no manifest.json",
        "ad-blocker: the name belongs to a built-in extension",
        "broken: manifest.json cannot be read: RecursionError",
        "empty: has no manifest.json",
        "far-reaching: asks for debugger, proxy, which would lead out of its session",
        "far-reaching: asks for nativeMessaging, which would lead out of its session",
        "linked: passwd is neither a file nor a folder",
        "list: manifest.json is not an object",
        "nameless: has no name",
        "nameless: has no version of one to four numbers",
        "odd: permissions is not a list",
        "old: is not of manifest version 3, the only one that browsers still load",
        "packed.crx: is not a folder; extensions are unpacked",
    ]


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    (fault,) = await faults_of(tmp_path)
    assert fault.endswith("theirs cannot be read: No such file or directory")


async def test_a_converted_ad_blocker_takes_the_place_of_the_starter_list(tmp_path: Path) -> None:
    converted = an_extension(tmp_path / "converted", version="2026.11.24")
    async with stocked_shelf(tmp_path / "shelf", extensions=None, ad_blocker=converted) as shelf:
        extension = shelf.get("ad-blocker")
        assert extension is not None
        assert extension.manifest.version == "2026.11.24"


@pytest.mark.parametrize("linkable", [True, False])
def test_a_sessions_copy_has_folders_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkable: bool
) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError(1, "no links here")

    source = an_extension(tmp_path / "shelf" / "mine")
    (source / "lib" / "code.js").chmod(0o444)
    if not linkable:
        monkeypatch.setattr(os, "link", refuse)
    place_copy(source, tmp_path / "session", None)
    copied = tmp_path / "session" / "lib" / "code.js"
    assert copied.read_text() == "1"
    assert copied.stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "session" / "lib").stat().st_mode & 0o777 == 0o700
    assert copied.samefile(source / "lib" / "code.js") is linkable
    assert [entry.name for entry in (tmp_path / "shelf").iterdir()] == ["mine"]


def test_a_copy_is_never_put_into_a_folder_that_somebody_made_first(tmp_path: Path) -> None:
    source = an_extension(tmp_path / "shelf" / "mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "session").symlink_to(elsewhere)
    with pytest.raises(NotADirectoryError):
        place_copy(source, tmp_path / "session", None)
    assert not list(elsewhere.iterdir())


async def test_a_name_that_is_not_known_is_refused_as_the_contract_says(tmp_path: Path) -> None:
    async with stocked_shelf(tmp_path / "shelf", extensions=None, ad_blocker=None) as shelf:
        loader = ExtensionLoader(shelf, captcha_solver=None)
        loader.check(["ad-blocker"])
        for name in ("captcha-solver", "mine", "../ad-blocker"):
            with pytest.raises(OptionUnavailable) as refused:
                loader.check(["ad-blocker", name])
            assert refused.value.reason == "OPTION_UNAVAILABLE"
            assert refused.value.metadata == {"option": "extensions", "value": name}
