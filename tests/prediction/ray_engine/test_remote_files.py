"""URLs: what is one, what lies below it, and servers that fail."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pneumoseg.errors import InputError, UsageError
from pneumoseg.prediction.ray import remote_files
from pneumoseg.prediction.ray.remote_files import fetch, list_url, url_of


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/films?region=eu", "s3://bucket/films?region=eu"),
        ("https://host:8443/a%20b/film.dcm", "https://host:8443/a%20b/film.dcm"),
        ("file:///data/films", "file:///data/films"),
        ("HTTPS://host/film.dcm", "https://host/film.dcm"),
        ("/data/s3:/films", None),
        ("films", None),
        ("c:/films", None),
    ],
)
def test_a_url_survives_being_a_path(path, url):
    """Breaks if the slash that Path takes from a URL is not given back."""
    assert url_of(Path(path)) == url


def test_a_folder_with_the_name_of_a_url_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert url_of(Path("s3://bucket")) is None


def test_a_folder_is_listed_as_walk_lists_it(tmp_path):
    """Breaks if order, hidden files or signs that mean something in a URL differ from walk's."""
    pytest.importorskip("pyarrow", reason="folders by URL need the extra ray")
    names = ["b.dcm", "a#1?.dcm", "c%41 ü.dcm", "d/e.dcm", "aa/z.dcm", ".hidden", ".h/x.dcm"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    entries = list(list_url(f"{tmp_path.as_uri()}/"))
    (tmp_path / "here").mkdir()
    found = [fetch(entry.absolute, tmp_path / "here").read_text() for entry in entries]
    assert found == ["a#1?.dcm", "b.dcm", "c%41 ü.dcm", "aa/z.dcm", "d/e.dcm"]
    assert [entry.size for entry in entries] == [len(name.encode()) for name in found]
    assert all(entry.path == entry.absolute for entry in entries)
    (only,) = list_url((tmp_path / "b.dcm").as_uri())
    assert fetch(only.absolute, tmp_path / "here").name == "b.dcm"


def test_what_is_not_there_is_said(tmp_path):
    pytest.importorskip("pyarrow", reason="folders by URL need the extra ray")
    with pytest.raises(UsageError, match="does not exist"):
        list(list_url((tmp_path / "nothing").as_uri()))


class Server(BaseHTTPRequestHandler):
    """Answers by the path: /STATUS/..., /cut, or /later, which is there at the third try."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        status = {"/later/x.dcm": 200 if len(self.asked) == 3 else 503, "/404/x.dcm": 404}
        self.send_response(status.get(self.path, 200))
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"half" if self.path.startswith("/cut") else b"complete")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(remote_files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Server, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(("path", "asked"), [("/film.dcm?a=1", 1), ("/later/x.dcm", 3)])
def test_a_server_may_need_more_than_one_try(server, tmp_path, path, asked):
    assert fetch(server + path, tmp_path).read_bytes() == b"complete"
    assert len(Server.asked) == asked


@pytest.mark.parametrize(("path", "asked"), [("/404/x.dcm", 1), ("/cut/x.dcm", 3)])
def test_a_server_that_does_not_give_it_is_one_films_trouble(server, tmp_path, path, asked):
    """Breaks if half an answer is taken for a film."""
    with pytest.raises(InputError) as error:
        fetch(server + path, tmp_path)
    assert error.value.code == "unreadable"
    assert len(Server.asked) == asked


def test_a_server_that_never_ends_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "MAX_FILE_BYTES", 5)
    with pytest.raises(InputError) as error:
        fetch(server + "/film.dcm", tmp_path)
    assert error.value.code == "too-large"
