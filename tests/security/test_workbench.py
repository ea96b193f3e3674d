"""Nobody else may use the workbench: no page of another site, no other user of the machine."""

import http.client
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from json import loads
from pathlib import Path

import pytest

from milbench.workspace import study_number
from studies import make_study
from workbench import Workbench, start_workbench

REFUSED = 403


@pytest.fixture(scope="module")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    folder = tmp_path_factory.mktemp("security")
    workbench = start_workbench(folder / "runs", folder / "log.txt")
    yield workbench
    workbench.stop()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: str


def ask(
    workbench: Workbench, path: str, method: str = "GET", token: bool = True, json: str | None = None, **headers: str
) -> Answer:
    """One request, with the cookie unless `token` is False."""
    with closing(http.client.HTTPConnection(workbench.origin.removeprefix("http://"), timeout=60)) as connection:
        cookie = {"Cookie": f"{workbench.cookie}={workbench.token}"} if token else {}
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = {} if json is None else {"Content-Type": "application/json"}
        connection.request(method, path, json, headers={**cookie, **kind, **more})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode())


UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "x" * 22 + "=="}
SOCKET = "/apps/home/ws?session_id=s_test00"


@pytest.mark.parametrize("path", ["/", "/apps/home/", "/apps/home/assets/x.js", "/dashboard", "/api/studies", "/?token=guess"])
def test_without_the_token_everything_is_401_and_says_what_to_do(workbench: Workbench, path: str) -> None:
    answer = ask(workbench, path, token=False)
    assert answer.status == 401
    assert "milbench serve" in answer.text


def test_with_the_token_our_own_pages_get_everything(workbench: Workbench) -> None:
    assert ask(workbench, "/apps/home/", Origin=workbench.origin, Sec_Fetch_Site="same-origin").status == 200
    assert ask(workbench, "/api/studies", Origin=workbench.origin).text == '{"study_summaries": []}'


def test_without_the_token_a_websocket_is_not_opened(workbench: Workbench) -> None:
    assert ask(workbench, SOCKET, token=False, **UPGRADE).status == REFUSED
    assert ask(workbench, f"{SOCKET}&token={workbench.token}", token=False, **UPGRADE).status == REFUSED


def test_the_token_becomes_a_cookie_that_no_script_reads_and_leaves_the_address(workbench: Workbench) -> None:
    answer = ask(workbench, f"/apps/home/?trial=3&token={workbench.token}", token=False)
    assert answer.status == 303
    assert answer.headers["Location"] == "/apps/home/?trial=3"
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in answer.headers["Set-Cookie"].split(";")}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:2718", "127.0.0.1.evil.example", "localhost.evil.example:80", ""]
)
def test_a_page_that_calls_this_machine_by_another_name_is_refused(workbench: Workbench, host: str) -> None:
    assert ask(workbench, "/apps/home/", Host=host).status in {400, REFUSED}


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_origin_is_refused(workbench: Workbench, origin: str) -> None:
    assert ask(workbench, "/api/studies", Origin=origin).status == REFUSED
    assert ask(workbench, "/apps/home/api/kernel/run", method="POST", Origin=origin).status == REFUSED
    assert ask(workbench, SOCKET, Origin=origin, **UPGRADE).status == REFUSED


def test_a_page_of_another_port_cannot_embed_what_it_asks_for(workbench: Workbench) -> None:
    assert ask(workbench, "/api/studies", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors").status == REFUSED
    assert ask(workbench, "/apps/home/").headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "request_", ["DELETE /api/studies/1", "PUT /api/studies/1/note", "PATCH /api/studies/1", "POST /api/studies"]
)
def test_the_dashboard_changes_nothing_unless_it_is_let(workbench: Workbench, request_: str) -> None:
    method, path = request_.split()
    answer = ask(workbench, path, method, Origin=workbench.origin)
    assert answer.status == REFUSED
    assert "--writable" in answer.text


def test_a_dashboard_that_is_let_keeps_notes_and_deletes_studies_but_makes_none(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    study, note = f"/api/studies/{study_number(root, make_study(root / 'mine'))}", '{"body": "good", "version": 1}'
    workbench = start_workbench(root, tmp_path / "log.txt", "--writable")
    try:
        trial = loads(ask(workbench, study).text)["trials"][0]["trial_id"]
        for path in (f"{study}/note", f"{study}/{trial}/note"):
            assert ask(workbench, path, "PUT", json=note).status == 204
        assert loads(ask(workbench, study).text)["note"] == loads(note)
        for path in ("/api/studies", f"{study}/rename"):
            answer = ask(workbench, path, "POST", json='{"study_name": "new", "directions": ["maximize"]}')
            assert answer.status == REFUSED
            assert "in the Launch app" in answer.text
        assert ask(workbench, study, "DELETE", Origin="http://evil.example").status == REFUSED
        assert ask(workbench, study, "DELETE", json="{}", Origin=workbench.origin).status == 204
        assert ask(workbench, study).status == 404
        assert "Traceback" not in workbench.log.read_text()
    finally:
        workbench.stop()


def test_two_starts_have_two_tokens_and_an_old_one_opens_nothing(workbench: Workbench, tmp_path: Path) -> None:
    other = start_workbench(tmp_path / "runs", tmp_path / "log.txt")
    try:
        assert other.token != workbench.token
        assert len(other.token) > 40
        assert ask(other, "/apps/home/", token=False, Cookie=f"{other.cookie}={workbench.token}").status == 401
    finally:
        other.stop()


def test_the_token_is_in_no_log_and_no_process_list(workbench: Workbench) -> None:
    ask(workbench, f"/?token={workbench.token}", token=False)
    ask(workbench, f"/no/such/page?token={workbench.token}x", token=False)
    assert workbench.token not in workbench.log.read_text()
    listed = subprocess.run(
        ["ps", "axeww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout  # e: environment too
    assert f"milbench.cli serve {workbench.root.name}" in listed
    assert workbench.token not in listed
    assert workbench.token not in "".join(os.environ.values())


def test_only_this_machine_can_connect(workbench: Workbench) -> None:
    port = int(workbench.origin.rsplit(":", 1)[1])
    listening = Path("/proc/net/tcp").read_text().splitlines()
    ours = [line.split()[1] for line in listening if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
    assert ours == [f"0100007F:{port:04X}"]
    assert not [line for line in Path("/proc/net/tcp6").read_text().splitlines() if f":{port:04X} " in line]
