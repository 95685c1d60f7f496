import pytest

from tests.unit.client.peer import Server


@pytest.fixture
def server() -> Server:
    """Alice is in the lobby, at offset 10."""
    server = Server()
    server.accept()
    server.welcome(10)
    return server
