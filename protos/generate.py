"""Generates the committed Python stubs under `gen/` from the contracts beside this file.

python protos/generate.py            writes gen/
python protos/generate.py --check    exits 1 when gen/ is not what the contracts say
"""

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
THIRD_PARTY = PROTOS / "third_party"
WELL_KNOWN = Path(grpc_tools.__path__[0]) / "_proto"
GENERATED = PROTOS / "gen"


def contracts() -> list[str]:
    """Return our own contracts and the vendored ones that no wheel ships stubs for."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "browserfleet").rglob("*.proto"))
    return [*ours, "buf/validate/validate.proto"]


def generate(out: Path) -> None:
    """Write the stubs of every contract, with types, into `out`."""
    arguments = [
        "protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={THIRD_PARTY}",
        f"--proto_path={WELL_KNOWN}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet,readable_stubs:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *contracts(),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    for path in out.rglob("validate_pb2_grpc.py*"):
        path.unlink()
    for path in out.rglob("*_pb2_grpc.py*"):
        if not path.name.removesuffix("i").removesuffix("_pb2_grpc.py").endswith("_service"):
            path.unlink()
    for path in (out / "browserfleet").glob("*/v1"):
        (path / "py.typed").touch()


def files_under(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.suffix in {".py", ".pyi", ".typed"}}


def check(fresh: Path) -> list[str]:
    """Return one line for every file of gen/ that is missing, stray or different."""
    wanted, present = files_under(fresh), files_under(GENERATED)
    drift = [f"missing: {path}" for path in sorted(wanted - present)]
    drift += [f"stray: {path}" for path in sorted(present - wanted)]
    drift += [
        f"differs: {path}"
        for path in sorted(wanted & present)
        if not filecmp.cmp(fresh / path, GENERATED / path, shallow=False)
    ]
    return drift


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    only_check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        # Not the temporary folder itself: its mode, for its owner only, would be copied along.
        fresh = Path(folder) / "gen"
        fresh.mkdir()
        generate(fresh)
        if only_check:
            drift = check(fresh)
            print("\n".join(drift) or "stubs match the contracts", file=sys.stderr if drift else sys.stdout)
            return 1 if drift else 0
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(fresh, GENERATED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
