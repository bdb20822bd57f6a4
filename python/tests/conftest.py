"""Workers of both kinds, and the warm parent."""

import contextlib
import signal
import sys

import pytest
from support import Direct, Nursery

# A shell has what it starts in the background ignore this signal, and so would the workers.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def nursery(stack):
    if sys.platform == "win32":
        pytest.skip("no process forks on this system")
    return Nursery(stack)


@pytest.fixture
def start_directly(stack):
    if sys.platform == "win32":
        pytest.skip("reports go to a descriptor here and to a handle there")
    return lambda: Direct(stack)


@pytest.fixture(params=["directly", "forked"])
def start(request):
    """Start a worker, in each of the two ways."""
    if request.param == "directly":
        return request.getfixturevalue("start_directly")
    return request.getfixturevalue("nursery").fork
