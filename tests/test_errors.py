from __future__ import annotations

import json
from pathlib import Path

import pytest

from backendai_kernel import errors
from backendai_kernel.errors import (
    APIError,
    BackendError,
    Conflict,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServerError,
    Unauthorized,
    from_problem,
)

SAMPLES = Path(__file__).parent / "samples" / "problem"

DOCTOR = "`backendai-kernel doctor` tells what is configured and from where."
KEYPAIR = f"Check BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY. {DOCTOR}"
LATER = "Try again in a moment; if it goes on, tell the cluster's administrator."

SENTENCES: dict[str, tuple[type[APIError], str, str]] = {
    "ambiguous-name": (Conflict, "Trying was refused: Too many sessions matched.", ""),
    "below-minimum": (
        APIError,
        "Trying was refused: kernel_specs[0] resource request is smaller than the image minimum "
        "(cpu=1 mem=320m).",
        "Ask for at least that with -r, in `%bai run` or in `backendai-kernel install`.",
    ),
    "clock": (
        APIError,
        "The clocks of this computer and of the server differ by more than 15 minutes.",
        f"Set this computer's clock, then try again. {DOCTOR}",
    ),
    "graphql-syntax": (
        ServerError,
        "Trying failed on the server: Internal server error.",
        LATER,
    ),
    "html": (ServerError, "Trying failed on the server: Internal server error.", LATER),
    "name-taken": (
        Conflict,
        "Trying was refused: The session already exists but you requested not to reuse existing "
        "one.",
        "Choose another name, or leave out `--no-reuse`.",
    ),
    "no-coordinator": (
        ServerError,
        "Trying failed on the server: No coordinator configured for this resource group.",
        LATER,
    ),
    "no-domain": (
        APIError,
        "Trying was refused: Invalid or inactive domain: nodomain.",
        "Set BACKEND_DOMAIN to your own domain.",
    ),
    "no-folder": (
        NotFound,
        "Trying was refused: No such virtual folder: nofolder.",
        "`%bai vfolder list` lists yours; name them in `-m` or BACKEND_VFOLDER_MOUNTS.",
    ),
    "no-group": (
        APIError,
        "Trying was refused: Invalid group (nogroup): the group does not exist, is inactive, or "
        "the user is not a member.",
        "Set BACKEND_GROUP to a project that you belong to.",
    ),
    "no-image": (
        NotFound,
        "Trying was refused: Unknown image references: identifier:ImageIdentifier("
        "canonical='no-such-image:1', architecture='x86_64'), alias:'no-such-image:1'.",
        "",
    ),
    "no-mode": (ServerError, "Trying failed on the server: runId or mode is missing.", LATER),
    "no-scaling-group": (
        NotFound,
        "Trying was refused: Resource group nosg not found.",
        "`%bai resources` lists the scaling groups that you may use.",
    ),
    "no-session": (
        NotFound,
        "Trying was refused: Session (id=no-such-session) does not exist.",
        "",
    ),
    "no-version": (APIError, "Trying was refused: API version missing in request headers.", ""),
    "other-user": (NotFound, "Trying was refused: Session (id=golden1) does not exist.", ""),
    "rename-in-query": (
        APIError,
        "Trying was refused: Malformed body - URL: http://manager.example.com/session/"
        "no-such-session/rename?name=yyyy1, Method: POST.",
        "",
    ),
    "restart": (
        ServerError,
        "Trying is not possible on this server: Session restart is no longer supported. "
        "Terminate the session and enqueue a new one instead.",
        "",
    ),
    "schema": (
        APIError,
        "Trying was refused: <BackendAISchemaValidationFailed(400): Schema validation failed. "
        "(1 validation error for ExecuteRequest run_id Input should be a valid string "
        "[type=string_type, input_value=123, input_type=int] For further information visit "
        "https://errors.pydantic.dev/2.11/v/string_type)> -> extra_data: {'errors': [{'type': "
        "'string_type', 'loc': ('run_id',), 'msg': 'Input should be a valid string', 'url': "
        "'https://errors.pydantic.dev/2.11/v/string_type'}]}.",
        "",
    ),
    "session-gone": (
        NotFound,
        "Trying was refused: Session (id=golden36-2b3cc) does not exist.",
        "",
    ),
    "slot-gpu": (APIError, "Trying was refused: Unknown slot type: 'gpu'.", ""),
    "slot-negative": (
        APIError,
        "Trying was refused: Resource slot 'cuda.shares' cannot be negative: -1.",
        "",
    ),
    "slot-no-number": (
        APIError,
        "Trying was refused: Invalid resource allocation: Cannot convert the slot 'cuda.shares' "
        "to decimal: 'half'.",
        "",
    ),
    "too-many-sessions": (
        QuotaExceeded,
        "The quota is used up: Keypair already has 1 active sessions, which exceeds the "
        "per-keypair concurrent-session limit of 1.",
        "End a session that you no longer need, or ask for less.",
    ),
    "unknown-key": (
        Unauthorized,
        "The server does not accept this keypair (Access key not found in HMAC).",
        KEYPAIR,
    ),
    "unsigned": (
        Unauthorized,
        "The server does not accept this keypair (Unauthorized access).",
        KEYPAIR,
    ),
    "wrong-mode": (
        ServerError,
        "Trying failed on the server: mode has an invalid value: nonsense.",
        LATER,
    ),
    "wrong-secret": (
        Unauthorized,
        "The server does not accept this keypair (HMAC signature mismatch).",
        KEYPAIR,
    ),
}


def test_every_recorded_problem_has_its_sentence():
    assert {path.stem for path in SAMPLES.iterdir()} == set(SENTENCES)


@pytest.mark.parametrize("name", SENTENCES)
def test_the_sentence_of_a_recorded_problem(name):
    recorded = json.loads((SAMPLES / f"{name}.json").read_text())
    error = from_problem(recorded["status"], recorded["body"], what="Trying")

    assert (type(error), error.message, error.hint) == SENTENCES[name]


@pytest.mark.parametrize("name", SENTENCES)
def test_a_recorded_problem_keeps_the_servers_own_facts(name):
    recorded = json.loads((SAMPLES / f"{name}.json").read_text())
    body = recorded["body"]
    error = from_problem(recorded["status"], body)

    assert error.status == recorded["status"]
    assert error.title == body["title"]
    assert error.slug == body["type"].removeprefix("https://api.backend.ai/probs/")
    assert error.data == body.get("data")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, APIError),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (409, Conflict),
        (412, QuotaExceeded),
        (429, RateLimited),
        (500, ServerError),
        (503, ServerError),
    ],
)
def test_an_answer_that_is_no_problem_is_told_by_its_status(status, kind):
    error = from_problem(status, {})

    assert type(error) is kind
    assert error.title == f"HTTP {status}"


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [
        (400, "quota-exceeded", QuotaExceeded),  # 26.9
        (412, "quota-exceeded", QuotaExceeded),  # 23.09
        (400, "session-already-exists", Conflict),
        (404, "too-many-sessions-matched", Conflict),
        (400, "vfolder-already-exists", Conflict),
        (409, "vfolder-already-exists", Conflict),
        (429, "rate-limit-exceeded", RateLimited),
    ],
)
def test_the_slug_counts_more_than_the_status(status, slug, kind):
    problem = {"type": f"https://api.backend.ai/probs/{slug}", "title": "T"}

    assert type(from_problem(status, problem)) is kind


def test_what_an_agent_says_is_taken_when_the_manager_says_nothing():
    problem = {
        "type": "https://api.backend.ai/probs/kernel-execution-failed",
        "title": "Kernel execution has failed.",
        "agent-details": {"type": "agent-failure", "title": "Agent-side exception occurred."},
    }
    error = from_problem(500, problem, what="Running code")

    assert error.message == "Running code failed on the server: Agent-side exception occurred."


def test_an_error_shows_its_sentence_and_its_hint_in_place_of_a_traceback():
    error = errors.ConfigError("That is wrong.", hint="Do this.")

    assert str(error) == "That is wrong.\nDo this."
    assert error._render_traceback_() == ["ConfigError: That is wrong.\nDo this."]


def test_an_error_without_a_hint_is_one_line():
    assert str(BackendError("That is wrong.")) == "That is wrong."
