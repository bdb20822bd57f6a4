"""The package that these tests are about."""

import sys
from pathlib import Path

import pytest

import ktx_daemon


def test_is_the_installed_one_unless_the_sources_are_asked_for(pytestconfig):
    if pytestconfig.getini("pythonpath"):
        pytest.skip("no installed package: `pythonpath` names the sources")
    assert Path(ktx_daemon.__file__).is_relative_to(sys.prefix)
