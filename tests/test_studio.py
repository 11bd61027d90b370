"""The studio without a browser: sessions, and the server with its limits."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small
from rl_small import preferring, untrained, weights

pytest.importorskip("fastapi", reason="FastAPI is not installed (extra studio)")
testclient = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")

from pixelrl_chainer import shipped  # noqa: E402
from pixelrl_chainer.errors import ConfigError, DataError  # noqa: E402
from pixelrl_chainer.explanation import Explanation, replay_file  # noqa: E402
from pixelrl_chainer.images import to_8bit  # noqa: E402
from pixelrl_chainer.progress import no_progress  # noqa: E402
from pixelrl_chainer.rl_restore.steering import read_chain  # noqa: E402
from pixelrl_chainer.rl_restore.toolbox import TOOLS, labels_of  # noqa: E402
from pixelrl_chainer.steering import FREE, read_maps  # noqa: E402
from pixelrl_chainer.studio import session as session_module  # noqa: E402
from pixelrl_chainer.studio import sessions, uploads  # noqa: E402
from pixelrl_chainer.studio.asking import MAX_STEPS, Settings, named, networks  # noqa: E402
from pixelrl_chainer.studio.running import Stopped  # noqa: E402
from pixelrl_chainer.studio.server import create_app  # noqa: E402
from pixelrl_chainer.studio.session import Session  # noqa: E402
from pixelrl_chainer.studio.toolchains import Toolchains, actions_of, folders  # noqa: E402
from pixelrl_chainer.studio.uploads import Upload, accept, safe_name  # noqa: E402

HEIGHT, WIDTH = 60, 70
NOISY = Settings(degrade=True, weights="pretrained")


def png(*, colour: bool = False, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    planes = [small.texture(n, height, width) for n in range(3 if colour else 1)]
    image = np.stack(planes, axis=-1).astype(np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def opened(*, colour: bool = False) -> Session:
    session = Session()
    session.open(Upload("a.png", png(colour=colour)))
    return session


def run(session: Session, settings: Settings = NOISY) -> Explanation:
    return session.run(settings, lambda *step: None, no_progress)


def test_steps_are_told_as_they_happen() -> None:
    session, seen = opened(), []
    found = session.run(NOISY, lambda *step: seen.append(step), no_progress)
    assert [step for step, _, _ in seen] == [1, 2, 3, 4, 5]
    for step, images, actions in seen:
        np.testing.assert_array_equal(images[0], found.states[step])
        np.testing.assert_array_equal(actions, found.action_maps[step - 1])


def test_running_again_changes_nothing() -> None:
    session = opened()
    first, second = run(session), run(session)
    np.testing.assert_array_equal(first.states, second.states)
    assert session.change is not None
    assert session.change[:3] == (0, 0, None)


REACH = {False: 18, True: 2}
"""Pixels that an edit reaches in each later step: agents with a convGRU; filters alone."""


@pytest.mark.parametrize("keep", [False, True])
def test_an_edit_reaches_as_far_as_it_can(keep: bool) -> None:
    """Painted in step 3 of 5 the change grows by two later steps of the network or the filters."""
    session = opened()
    before = run(session)
    row, column, step = 30, 35, 3
    old = int(before.action_maps[step - 1, 0, row, column])
    session.edit("stroke", step - 1, (old + 3) % 9, 0, None, 1, [(column, row)])
    after = run(session, Settings(degrade=True, weights="pretrained", keep=keep))
    change = session.change
    assert change is not None and change.box is not None
    assert change.pixels > 0
    left, top, right, bottom = change.box
    reach = REACH[keep] * (5 - step)
    assert column - left <= reach and right - column <= reach
    assert row - top <= reach and bottom - row <= reach
    np.testing.assert_array_equal(before.states[: step - 1 + 1], after.states[: step - 1 + 1])
    assert after.action_maps[step - 1, 0, row, column] == (old + 3) % 9
    others = after.action_maps[step - 1] != before.action_maps[step - 1]
    assert others.sum() == 1
    assert change.scores["psnr"] == (before.scores["psnr"][-1], after.scores["psnr"][-1])


def test_what_changed_is_counted() -> None:
    session = opened()
    before = run(session)
    session.edit(
        "rectangle", 0, before.task.action_set.names.index("plus"), 0, None, 1, [(5, 5), (20, 24)]
    )
    after = run(session, Settings(degrade=True, weights="pretrained", keep=True))
    assert session.change is not None
    differs = before.states[-1, 0] != after.states[-1, 0]
    visible = to_8bit(before.states[-1, 0]) != to_8bit(after.states[-1, 0])
    assert session.change.pixels == differs.sum() > 320
    assert 0 < session.change.visible == visible.sum() < differs.sum()
    first, second = session.change.scores["psnr"]
    assert second < first - 0.1


def test_undoing_returns_to_the_agents() -> None:
    session = opened()
    before = run(session)
    for keep in (False, True):
        assert session.edit("rectangle", 0, 2, 0, None, 1, [(5, 5), (20, 20)]) == 0
        assert (session.action_maps(0)[0, 5:21, 5:21] == 2).all()
        assert (
            run(session, Settings(degrade=True, weights="pretrained", keep=keep)).states[1:]
            != before.states[1:]
        ).any()
        assert session.edit("undo", 0, 0, 0, None, 1, []) == 0
        np.testing.assert_array_equal(session.action_maps(0), before.action_maps[0])
        after = run(session)
        np.testing.assert_array_equal(after.states, before.states)


def test_locked_actions_stay() -> None:
    session = opened()
    before = run(session)
    common = int(np.bincount(before.action_maps[1].ravel()).argmax())
    session.edit("replace", 1, common, common, None, 1, [])
    names = before.task.action_set.names
    after = run(session, Settings(degrade=True, weights="pretrained", forbidden=(names[common],)))
    locked = before.action_maps[1] == common
    np.testing.assert_array_equal(after.action_maps[1] == common, locked)
    assert (after.action_maps[0] != common).all()


def test_a_longer_episode_keeps_what_is_painted() -> None:
    session = opened()
    run(session)
    session.edit("stroke", 1, 0, 0, None, 5, [(9, 9)])
    longer = run(session, Settings(degrade=True, weights="pretrained", steps=7))
    assert len(longer.action_maps) == 7
    assert longer.action_maps[1, 0, 9, 9] == 0
    shorter = run(session, Settings(degrade=True, weights="pretrained", steps=1))
    assert len(shorter.action_maps) == 1


def test_another_corruption_forgets_what_was_painted() -> None:
    session = opened()
    run(session)
    session.edit("stroke", 1, 0, 0, None, 5, [(9, 9)])
    run(session, Settings(degrade=True, weights="pretrained", seed=1))
    assert session.change is None
    assert session.painting is not None and session.painting.overrides == {}


def test_planes_of_a_colour_image_and_all_probabilities() -> None:
    session = opened(colour=True)
    found = run(session)
    session.edit("stroke", 0, 4, 0, 2, 3, [(9, 9)])
    counts = [
        (session.action_maps(0)[plane] != found.action_maps[0, plane]).sum() for plane in range(3)
    ]
    assert counts[:2] == [0, 0]
    probabilities = session.probabilities(12, 7)
    assert np.shape(probabilities) == (5, 3, 9)
    np.testing.assert_allclose(probabilities, found.probabilities[..., 7, 12], atol=6e-5)
    with pytest.raises(ConfigError, match="pixel 70, 0: expected one of 70x60"):
        session.probabilities(70, 0)


def test_saved_maps_lead_to_the_same_image(tmp_path: Path) -> None:
    session = opened()
    run(session)
    session.edit("rectangle", 2, 8, 0, None, 1, [(5, 5), (20, 20)])
    session.save(tmp_path / "maps.npz")
    kept = run(session, Settings(degrade=True, weights="pretrained", keep=True))
    maps = read_maps(tmp_path / "maps.npz", kept.task.action_set)
    np.testing.assert_array_equal(maps, kept.action_maps)
    state, scores = replay_file(NOISY.config(), tmp_path / "maps.npz", None, None, session.device)
    np.testing.assert_array_equal(state, kept.states[-1])
    assert scores["psnr"] == (kept.scores["psnr"][0], kept.scores["psnr"][-1])


def test_a_run_that_is_ended_leaves_the_one_before() -> None:
    session = opened()
    before = run(session)
    seen = []

    def watch(step: int, *maps: Any) -> None:
        seen.append(step)
        raise Stopped

    with pytest.raises(Stopped):
        session.run(Settings(degrade=True, weights="pretrained", seed=1), watch, no_progress)
    assert seen == [1]
    assert session.found is before
    run(session)
    assert session.change is not None and session.change.pixels == 0


def test_another_image_is_another_start() -> None:
    session = opened()
    run(session)
    session.image = Upload("b.png", png(height=40))
    assert run(session).states.shape[2] == 40
    assert session.change is None


def test_repeated_actions_outlive_edits_that_were_undone() -> None:
    """What comes back is what the agents did, not what they would do on the edited images."""
    session = opened()
    before = run(session)
    everywhere = [(0, 0), (WIDTH, HEIGHT)]
    for step in (0, 3):
        session.edit("rectangle", step, 8, 0, None, 1, everywhere)
    keep = Settings(degrade=True, weights="pretrained", keep=True)
    run(session, keep)
    session.edit("undo", 0, 0, 0, None, 1, [])
    session.edit("undo", 0, 0, 0, None, 1, [])
    after = run(session, keep)
    np.testing.assert_array_equal(after.action_maps, before.action_maps)
    np.testing.assert_array_equal(after.states, before.states)


def test_a_forbidden_action_is_not_repeated() -> None:
    session = opened()
    before = run(session)
    common = int(np.bincount(before.action_maps[0].ravel()).argmax())
    name = before.task.action_set.names[common]
    settings = Settings(degrade=True, weights="pretrained", keep=True, forbidden=(name,))
    after = run(session, settings)
    assert not (after.action_maps == common).any()
    np.testing.assert_array_equal(
        np.where(before.action_maps[0] == common, after.action_maps[0], before.action_maps[0]),
        after.action_maps[0],
    )
    assert session.facts["forbidden"] == name
    assert session.facts["other actions"] == "as in the run before"


def test_an_edit_beyond_the_end_can_be_undone() -> None:
    session = opened()
    run(session)
    session.edit("stroke", 4, 0, 0, None, 1, [(9, 9)])
    run(session, Settings(degrade=True, weights="pretrained", steps=2))
    assert "painted" not in session.facts
    assert session.edit("undo", 0, 0, 0, None, 1, []) == 4
    assert not session.has_step(4)
    with pytest.raises(ConfigError, match="step 5: expected one from 1 to 2"):
        session.edit("stroke", 4, 0, 0, None, 1, [(9, 9)])


def test_the_target_is_left_out_where_the_image_is_corrupted() -> None:
    session = opened()
    session.target = Upload("m.png", png(height=40))
    assert run(session).target is not None


def test_undefined_scores_are_no_trouble() -> None:
    """SSIM needs 7 pixels; JSON has no NaN."""
    session = Session()
    session.open(Upload("a.png", png(height=5, width=9)))
    run(session)
    run(session)
    assert session.change is not None
    assert session.change.scores["ssim"] == (None, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(task="sharpen"), "unknown task 'sharpen'"),
        (Settings(steps=MAX_STEPS + 1), "expected 1 to 50 steps"),
        (Settings(seed=-1), "seed -1"),
        (Settings(level=-3.0, degrade=True), "task.level = -3"),
        (Settings(weights="/etc/passwd"), "weights '/etc/passwd': expected one of pretrained"),
        (Settings(forbidden=("melt",)), "unknown action 'melt'"),
        (Settings(task="color"), "no network fits color"),
        (Settings(task="saliency"), "no network fits saliency"),
    ],
)
def test_bad_settings_are_named(settings: Settings, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        run(opened(), settings)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_numbers_that_overflow_are_refused() -> None:
    session = Session(given=(shipped.FOLDER / "denoise-gaussian-sigma25-convgru.npz",))
    session.open(Upload("a.png", png()))
    with pytest.raises(ConfigError, match="choose a smaller level"):
        run(session, Settings(degrade=True, level=1e30))
    assert session.found is None


def test_an_episode_must_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelrl_chainer.studio.session.MAX_BYTES", 2 * 5 * 9 * HEIGHT * WIDTH - 1)
    with pytest.raises(ConfigError, match="choose fewer steps"):
        run(opened())


def test_networks_that_do_not_fit_are_not_offered(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK")
    given = (tmp_path / "bad.npz", tmp_path / "missing.npz")
    assert "pretrained" in networks(NOISY.config(), given)
    names = networks(Settings(task="color").config(), given)
    assert not [name for name in names if "bad" in name or "missing" in name]


# ---- toolchains ----


def toolchain(**changes: Any) -> Settings:
    return Settings(**{"task": "rl-restore", "degrade": True, **changes})


def restoring(folder: Path) -> Session:
    session = Session(given=(weights(folder / "w", preferring([3, 6, 12])),))
    session.open(Upload("a.png", png(colour=True)))
    return session


def restore(session: Session, settings: Settings) -> list[str]:
    work = session.work(settings)
    work.run(settings, lambda *step: None, no_progress)
    session.last = work
    assert isinstance(work, Toolchains) and work.found is not None
    return work.found.names


def test_a_toolchain_is_steered(tmp_path: Path) -> None:
    session = restoring(tmp_path)
    assert restore(session, toolchain()) == ["deblur 3.75-5"] * 3
    assert session.toolchains.change is None
    chosen = toolchain(tools=("", "denoise 0-12.5"), forbidden=("deblur 3.75-5",))
    assert restore(session, chosen) == ["denoise 25-37.5", "denoise 0-12.5", "denoise 25-37.5"]
    change = session.toolchains.change
    assert change is not None and change.pixels > 0
    assert set(change.scores) == {"psnr", "ssim"}
    assert session.toolchains.facts["given"] == "denoise 0-12.5 in step 2"
    assert restore(session, toolchain(tools=("stop",))) == ["stop"]
    session.last.save(tmp_path / "chain.npz")
    assert read_chain(tmp_path / "chain.npz", labels_of(TOOLS)).chain == [12]
    assert session.last.picture().shape == (HEIGHT, WIDTH, 3)
    assert restore(session, toolchain(seed=1)) == ["deblur 3.75-5"] * 3
    assert session.toolchains.change is None


def test_the_corruption_of_a_toolchain_is_that_of_its_seed(tmp_path: Path) -> None:
    session = restoring(tmp_path)
    states = []
    for seed in (0, 1, 0):
        restore(session, toolchain(seed=seed))
        assert session.toolchains.found is not None
        states.append(session.toolchains.found.states[0])
    np.testing.assert_array_equal(states[0], states[2])
    assert (states[0] != states[1]).any()


def test_a_given_image_and_its_target(tmp_path: Path) -> None:
    session = restoring(tmp_path)
    restore(session, toolchain(degrade=False))
    found = session.toolchains.found
    assert found is not None and found.scores == {}
    session.target = Upload("b.png", png(colour=True))
    restore(session, toolchain(degrade=False))
    found = session.toolchains.found
    assert found is not None
    assert found.scores["ssim"][0] == 1
    session.target = Upload("b.png", png(height=9))
    with pytest.raises(DataError, match="^b.png: expected the size of a.png, 70x60 pixels"):
        restore(session, toolchain(degrade=False))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tools": ("melt",)}, "unknown tool 'melt'"),
        ({"tools": ("",) * 4}, "no more tools than steps"),
        ({"steps": 0}, "expected 1 to 3"),
        ({"steps": 4}, "expected 1 to 3"),
        ({"level": 25.0}, "no level"),
        ({"seed": -1}, "seed -1"),
        ({"tools": ("stop", "", "denoise 0-12.5")}, "none after stop"),
        ({"weights": "nowhere"}, "weights 'nowhere': expected one of"),
        ({"forbidden": labels_of(TOOLS)}, "all actions are forbidden"),
    ],
)
def test_bad_toolchains_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        restore(restoring(tmp_path), toolchain(**changes))


def test_given_tools_that_were_not_reached_are_said_to_be(tmp_path: Path) -> None:
    session = Session(given=(weights(tmp_path / "w", preferring([12])),))
    session.open(Upload("a.png", png(colour=True)))
    restore(session, toolchain(tools=("", "", "denoise 0-12.5")))
    assert session.toolchains.facts["toolchain"] == "stop"
    assert session.toolchains.facts["given"] == "denoise 0-12.5 in step 3, not reached"


def test_agents_and_folders_of_any_size_are_named_apart(tmp_path: Path) -> None:
    one = weights(tmp_path / "a" / "run" / "w", untrained(6, stop=False))
    two = weights(tmp_path / "b" / "run" / "w", untrained(18))
    found = folders([one, two, one, tmp_path / "none"])
    found.pop("imported", None)
    assert list(found) == ["run/w", "b/run/w"]
    assert [action["name"] for action in actions_of(one)][-1] == "deJPEG 10-35"
    assert len(actions_of(two)) == 19
    session = Session(given=(one,))
    session.open(Upload("a.png", png(colour=True)))
    assert len(restore(session, toolchain(tools=("denoise 25-50",), weights="run/w"))) == 3
    with pytest.raises(ConfigError, match="unknown tool 'stop'"):
        restore(session, toolchain(tools=("stop",), weights="run/w"))


def test_a_path_within_another_has_a_name_of_its_own(tmp_path: Path) -> None:
    inner, outer = tmp_path / "a" / "b.npz", tmp_path / "n" / "a" / "b.npz"
    assert list(named([outer, inner, inner])) == ["a/b.npz", f"{tmp_path.name}/a/b.npz"]


def test_a_toolchain_can_be_stopped(client: Any, tmp_path: Path) -> None:
    session = restoring(tmp_path)

    @contextmanager
    def ended(total: int, description: str, initial: int = 0) -> Iterator[Any]:
        def advance() -> None:
            raise Stopped

        assert total == 3 * 2  # three steps: one group of patches and one tile each
        yield advance

    with pytest.raises(Stopped):
        session.work(toolchain()).run(toolchain(), lambda *step: None, ended)
    assert session.toolchains.found is None


def test_what_ran_last_is_saved(client: Any) -> None:
    """Not what was tried last, and failed."""
    who = begin(client)
    client.post("/api/image", content=png(), headers=who)
    events(client, who)
    (*_, last) = events(client, who, task="rl-restore", weights="nowhere")
    assert last["event"] == "error"
    assert client.get("/api/export/html", headers=who).text.count("Gaussian denoising") > 0


def test_toolchains_over_http(tmp_path: Path) -> None:
    app = create_app([weights(tmp_path / "w", preferring([3, 6, 12]))])
    with testclient.TestClient(app, base_url="http://127.0.0.1:8000") as client:
        who = begin(client)
        names = client.get("/api/networks?task=rl-restore").json()
        assert names[-1]["name"] == f"{tmp_path.name}/w"
        labels = [action["name"] for action in names[-1]["actions"]]
        assert labels == list(labels_of(TOOLS))
        client.post("/api/image", content=png(colour=True), headers=who)
        name = names[-1]["name"]
        told = events(client, who, task="rl-restore", weights=name, tools=["", "stop"])
        assert [event["event"] for event in told] == ["begun", *["parts"] * 3, "done"]
        assert [step["taken"] for step in told[-1]["data"]["decisions"]] == [3, 12]
        for kind in ("png", "npz", "html"):
            assert client.get(f"/api/export/{kind}", headers=who).status_code == 200
        (*_, last) = events(client, who, task="rl-restore", weights="pretrained")
        assert "expected one of" in last["error"]


# ---- uploads ----


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\a b.png", "a_b.png"),
        ("..", "image"),
        (".hidden", "hidden"),
        ("a\0b\n<script>.png", "a_b_script_.png"),
        ("", "image"),
        ("é" * 200 + ".png", "é" * 38 + ".png"),
        ("𝒳" * 200, "𝒳" * 20),
    ],
)
def test_names_are_harmless(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def bomb(side: int = 50_000) -> bytes:
    """A PNG whose header promises more pixels than anybody wants to decode."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an image"),
        (b"GIF89a nonsense", "expected an image"),
        (b"<svg/>", "expected an image"),
        (bomb(), "at most 4 million pixels, found more"),
        (bomb(2001), "at most 4 million pixels, found 2001x2001"),
        (bomb(2**31 - 1), "x.png: expected"),
    ],
)
def test_hostile_files_are_refused_by_their_header(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        accept("x.png", data)


def test_a_damaged_image_is_named_without_its_folder() -> None:
    session = Session()
    session.open(accept("../x.png", png()[:200]))
    with pytest.raises(DataError) as raised:
        run(session)
    assert str(raised.value).startswith("x.png is not a whole image")


# ---- the server ----


@pytest.fixture
def client() -> Iterator[Any]:
    with testclient.TestClient(create_app(), base_url="http://127.0.0.1:8000") as found:
        yield found


def begin(client: Any) -> dict[str, str]:
    return {"X-Session": client.post("/api/session").json()["session"]}


def asked(**changes: Any) -> dict[str, Any]:
    return {"task": "denoise-gaussian", "degrade": True, "weights": "pretrained", **changes}


def events(client: Any, who: dict[str, str], **changes: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/run", json=asked(**changes), headers=who)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_visit(client: Any, tmp_path: Path) -> None:
    who = begin(client)
    assert client.post("/api/image?name=a.png", content=png(), headers=who).json() == {
        "name": "a.png"
    }
    told = [event for event in events(client, who) if event["event"] != "waiting"]
    assert [event["event"] for event in told] == ["begun", *["step"] * 5, "done"]
    data = told[-1]["data"]
    assert (data["width"], data["height"], data["steps"]) == (WIDTH, HEIGHT, 5)
    assert told[-1]["change"] is None
    edit = {"kind": "stroke", "step": 1, "action": 8, "size": 5, "points": [[9, 9], [20, 9]]}
    answer = client.post("/api/edit", json=edit, headers=who).json()
    assert (answer["step"], answer["undo"], answer["redo"]) == (1, True, False)
    painted = answer["painted"]["1"]
    assert painted > 55
    assert sum(answer["counts"]) == HEIGHT * WIDTH
    done = events(client, who)[-1]
    assert done["painted"] == {"1": painted}
    assert set(done["change"]["scores"]) == {"psnr", "ssim"}
    assert f"{painted} in step 2" in done["data"]["facts"]["painted"]
    pixel = client.post("/api/pixel", json={"column": 3, "row": 4}, headers=who).json()
    assert np.shape(pixel["probabilities"]) == (5, 1, 9)
    image = client.get("/api/export/png", headers=who).content
    assert cv2.imdecode(np.frombuffer(image, np.uint8), 0).shape == (HEIGHT, WIDTH)
    with np.load(io.BytesIO(client.get("/api/export/npz", headers=who).content)) as file:
        np.testing.assert_array_equal(
            image_of(image), to_8bit(replayed(file["action_maps"], file["states"]))
        )
        assert (file["action_maps"][1, 0, 9, 9:21] == 8).all()
    report = client.get("/api/export/html", headers=who).text
    assert report.startswith("<!doctype html>") and "in step 2" in report


def image_of(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), 0)


def replayed(maps: np.ndarray, states: np.ndarray) -> np.ndarray:
    from pixelrl_chainer.env import make_env
    from pixelrl_chainer.steering import replay

    env = make_env(NOISY.config())
    return replay(env, states[0][:, None], list(maps.astype(np.int32))).output[0, 0]


def test_sessions_do_not_see_each_other(client: Any) -> None:
    one, other = begin(client), begin(client)
    client.post("/api/sample?name=camera.png", headers=one)
    client.post("/api/image", content=png(), headers=one)
    events(client, one)
    for path in ("/api/export/png", "/api/export/npz", "/api/export/html"):
        assert client.get(path, headers=other).status_code == 400
        for stranger in ({}, {"X-Session": "guess"}, {"X-Session": ""}):
            assert client.get(path, headers=stranger).status_code == 404
    assert client.get("/api/export/png", headers=one).status_code == 200
    client.delete("/api/session", headers=one)
    answer = client.get("/api/export/png", headers=one)
    assert (answer.status_code, "reload the page" in answer.text) == (404, True)


def test_the_least_used_session_is_closed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    first, second = begin(client), begin(client)
    assert client.post("/api/stop", headers=first).status_code == 200
    begin(client)
    assert client.post("/api/stop", headers=first).status_code == 200
    assert client.post("/api/stop", headers=second).status_code == 404
    monkeypatch.setattr(sessions, "IDLE_SECONDS", -1)
    begin(client)
    assert client.post("/api/stop", headers=first).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/image", b"", "expected an image"),
        ("/api/image?name=x.png", bomb(), "at most 4 million pixels"),
        ("/api/target", b"nonsense", "expected an image"),
        ("/api/sample?name=../../../etc/passwd", b"", "no sample"),
        ("/api/run", b"{", "Invalid JSON"),
        ("/api/run", b'{"task": "sharpen"}', "unknown task"),
        ("/api/run", b'{"task": "color", "weights": 7}', "weights: Input should be a valid string"),
        ("/api/run", b'{"task": "color", "file": "x"}', "file: Unexpected keyword"),
        ("/api/run", b'{"task": "color", "steps": 1e9}', "steps"),
        ("/api/edit", b'{"kind": "stroke", "points": [[1, 1]]}', "run the agents first"),
        ("/api/edit", b'{"kind": "stroke", "points": [[1e99, 1]]}', "points.0.0"),
        ("/api/edit", b'{"kind": "stroke", "points": [[1]]}', "points.0"),
        ("/api/edit", b'{"kind": "stroke", "points": [[1, 2, 3]]}', "points.0"),
        ("/api/edit", b'{"kind": "melt"}', "run the agents first"),
        ("/api/pixel", b'{"column": 0, "row": 0}', "run the agents first"),
        ("/api/run", b" " * (2**20 + 1), "at most 1 MB"),
    ],
)
def test_bad_requests_get_one_line(client: Any, path: str, body: bytes, message: str) -> None:
    answer = client.post(path, content=body, headers=begin(client))
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_large_files_are_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 2**20)
    answer = client.post("/api/image", content=b"x" * (2**20 + 1), headers=begin(client))
    assert (answer.status_code, answer.json()["error"][:22]) == (400, "expected at most 1 MB,")


def test_what_goes_wrong_in_a_run_is_an_event(client: Any) -> None:
    who = begin(client)
    assert "no image is open" in events(client, who)[-1]["error"]
    client.post("/api/image", content=png(), headers=who)
    (*_, last) = events(client, who, task="color", degrade=False, weights="")
    assert (last["event"], "no network fits color" in last["error"]) == ("error", True)
    (*_, last) = events(client, who, weights="nowhere")
    assert "expected one of" in last["error"]
    assert events(client, who)[-1]["event"] == "done"


class Held:
    """Runs that begin and then wait until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        explain = session_module.explain

        def held(*args: Any, **kwargs: Any) -> Explanation:
            self.begun.set()
            assert self.go_on.wait(60)
            return explain(*args, **kwargs)

        monkeypatch.setattr(session_module, "explain", held)


def test_nothing_is_edited_while_the_agents_work(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, who = Held(monkeypatch), begin(client)
    client.post("/api/image", content=png(), headers=who)
    pool = ThreadPoolExecutor(1)
    told = pool.submit(events, client, who)
    assert held.begun.wait(60)
    for path, body in (
        ("/api/edit", b'{"kind": "undo"}'),
        ("/api/run", json.dumps(asked()).encode()),
        ("/api/image", png()),
        ("/api/target", b""),
        ("/api/sample?name=camera.png", b""),
        ("/api/pixel", b'{"column": 0, "row": 0}'),
    ):
        answer = client.post(path, content=body, headers=who)
        assert (path, answer.status_code, "at work" in answer.text) == (path, 400, True)
    assert client.get("/api/export/png", headers=who).status_code == 400
    assert client.post("/api/stop", headers=who).status_code == 200
    held.go_on.set()
    assert told.result(60)[-1] == {"event": "stopped"}
    assert events(client, who)[-1]["event"] == "done"


def test_a_run_waits_for_others_and_can_be_stopped_meanwhile(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, one, other = Held(monkeypatch), begin(client), begin(client)
    for who in (one, other):
        client.post("/api/image", content=png(), headers=who)
    pool = ThreadPoolExecutor(2)
    first = pool.submit(events, client, one)
    assert held.begun.wait(60)
    second = pool.submit(events, client, other)
    while not client.app.state.studio.find(other["X-Session"]).turn.busy:
        time.sleep(0.01)
    client.post("/api/stop", headers=other)
    time.sleep(0.4)  # until it says that it waits
    held.go_on.set()
    assert [event["event"] for event in second.result(60)] == ["waiting", "stopped"]
    assert first.result(60)[-1]["event"] == "done"


def test_closing_a_session_ends_its_run(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held, who = Held(monkeypatch), begin(client)
    client.post("/api/image", content=png(), headers=who)
    pool = ThreadPoolExecutor(1)
    told = pool.submit(events, client, who)
    assert held.begun.wait(60)
    client.delete("/api/session", headers=who)
    held.go_on.set()
    assert told.result(60)[-1] == {"event": "stopped"}


def test_pages_from_elsewhere_are_refused(client: Any) -> None:
    answer = client.post("/api/session", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    own = client.post("/api/session", headers={"Origin": "http://127.0.0.1:8000"})
    assert own.status_code == 200


def test_only_its_own_pages_are_served(client: Any) -> None:
    for path, kind in (("/", "text/html"), ("/studio.js", "text/javascript")):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith(kind)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    for path in ("/server.py", "/../server.py", "/static/studio.js", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_foreign_names_of_the_host_are_refused(client: Any) -> None:
    """A page elsewhere whose name was pointed at this machine must not reach the studio."""
    assert client.get("/", headers={"Host": "evil.example:8000"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8000"}).status_code == 200


def test_options_and_networks(client: Any) -> None:
    found = client.get("/api/options").json()
    names = [task["name"] for task in found["tasks"]]
    assert "denoise-gaussian" in names and "saliency" in names
    assert "camera.png" in found["samples"]
    assert FREE == -1  # as studio.js has it
    answer = client.get("/api/networks?task=denoise-gaussian&level=25").json()
    assert {"name": "pretrained"} in answer
    assert client.get("/api/networks?task=x").status_code == 400
