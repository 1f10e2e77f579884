from pathlib import Path

import pytest

from local_stack.servers.s3 import RunningS3
from tests.integration.artifact_store.service import Setup, a_setup


@pytest.fixture
def setup(empty_database: str, s3: RunningS3, tmp_path: Path) -> Setup:
    return a_setup(empty_database, s3.server, tmp_path)
