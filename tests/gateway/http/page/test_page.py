"""The page in a real browser: pictures, errors, batches, the webcam, keys, the cluster; and on small screens."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys

import httpx
import pytest
import trustme

from ferry.v1.types_pb2 import VOTE_HARD
from tests.certificates import Certificates
from tests.gateway.fakes import eventually, jpeg
from tests.gateway.http.conftest import metrics_of
from tests.processes import ROOT, free_port

expect = pytest.importorskip("playwright.async_api").expect
PICTURE = jpeg(120, (400, 300))


async def test_a_picture_is_answered_with_faces_bars_opinions_and_calls(open_page):
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    await expect(page.page.locator("#overlay .face-mark")).to_have_count(2)
    await expect(page.page.locator(".verdict")).to_have_text("happy86 %")
    await expect(page.page.locator(".bars .bar")).to_have_count(7)
    await expect(page.page.locator(".opinion")).to_have_count(2)
    await page.sees("efficientnet 2 · 50 % of the vote")
    await page.sees("31.0 ms")
    await page.page.get_by_role("button", name="sad 61 %").click()
    await expect(page.page.locator(".verdict")).to_have_text("sad61 %")
    for language, line in (
        ("curl", "curl -F 'image=@0.jpg'"),
        ("Python", 'client.recognize("0.jpg")'),
        ("grpcurl", "ferry.v1.ExpressionRecognition/Recognize"),
        ("JSON", '"expression": "happy"'),
    ):
        await page.page.get_by_role("button", name=language, exact=True).click()
        await page.sees(line, ".calls pre")
    await page.page.locator("#copy-json").click()
    await page.sees("JSON copied", "#toast")
    assert '"image_size"' in await page.page.evaluate("navigator.clipboard.readText()")


async def test_cached_and_degraded_are_marked_and_options_ask_again(open_page, ensembler):
    ensembler.missing = ("arcface",)
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("degraded", ".heading")
    await page.sees("Without arcface, which did not answer.")
    ensembler.missing = ()
    await page.page.locator(".options summary").click()
    await page.page.locator("[name=detail]").select_option("2")
    await eventually(lambda: ensembler.requests[-1].options.detail == 2)
    async with page.page.expect_response("**/api/predict*"):
        await page.page.locator("[name=detail]").select_option("0")
    await page.page.locator("#clear").click()
    await page.sees("Drop pictures here")
    await page.upload(PICTURE)
    await page.sees("cached", ".heading")


async def test_options_that_are_changed_while_a_call_is_under_way_are_asked(open_page, ensembler):
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    ensembler.gate.clear()
    await page.page.locator(".options summary").click()
    await page.page.locator("[name=detail]").select_option("2")
    await eventually(lambda: ensembler.requests[-1].options.detail == 2)
    ensembler.faces = 1
    await page.page.locator("[name=detail]").select_option("4")
    await eventually(lambda: ensembler.requests[-1].options.detail == 4)
    ensembler.gate.set()
    await page.sees("1 face", "#answer .heading")


async def test_a_picture_without_faces_is_an_answer(open_page, ensembler):
    ensembler.faces = 0
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("No face found", "#answer")


async def test_what_is_no_picture_is_said_in_words(open_page):
    page = await open_page()
    await page.upload(b"no picture at all")
    await page.sees("is not a readable JPEG", "#answer [role=alert]")
    await page.sees("0.jpg", "#answer")


async def test_a_picture_that_the_browser_cannot_show_is_no_broken_icon(open_page):
    page = await open_page()
    await page.upload(b"no picture at all")
    await page.sees("is not a readable JPEG", "#answer [role=alert]")
    await expect(page.page.locator("#unseen")).to_be_visible()
    await expect(page.page.locator("#photo")).to_have_css("visibility", "hidden")
    await page.upload(PICTURE)
    await page.page.keyboard.press("ArrowRight")
    await page.sees("2 faces", "#answer")
    await expect(page.page.locator("#unseen")).to_be_hidden()
    await expect(page.page.locator("#photo")).to_have_css("visibility", "visible")


async def test_the_words_of_a_face_lie_within_their_tag(open_page):
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    spare = await page.page.evaluate(
        """() => [...document.querySelectorAll(".face-label")].map((label) => {
            const [tag, text] = ["rect", "text"].map((name) => label.querySelector(name).getBoundingClientRect());
            return [text.left - tag.left, tag.right - text.right];
        })"""
    )
    assert all(3 < side < 12 for sides in spare for side in sides), spare


async def test_several_pictures_are_a_batch_and_the_arrows_go_through_them(open_page):
    page = await open_page()
    await page.upload(PICTURE, b"broken", jpeg(30, (400, 300)))
    marks = page.page.locator("#strip .mark")
    await expect(marks).to_have_text(["2", "!", "2"])
    await page.page.keyboard.press("ArrowRight")
    await page.sees("1.jpg", "#answer [role=alert]")
    await page.page.keyboard.press("ArrowRight")
    await page.sees("2 faces", "#answer")
    await expect(page.page.locator("#strip [aria-current=true]")).to_have_attribute("aria-label", "2.jpg: happy, sad")


async def test_dropped_and_pasted_pictures(open_page):
    page = await open_page()
    for kind, carrier in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        await page.page.evaluate(
            """([kind, carrier, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], `${kind}.jpg`, { type: "image/jpeg" }));
                const Event = kind === "drop" ? DragEvent : ClipboardEvent;
                dispatchEvent(new Event(kind, { [carrier]: data, bubbles: true, cancelable: true }));
            }""",
            [kind, carrier, list(jpeg(len(kind), (400, 300)))],
        )
        await expect(page.page.locator("#photo")).to_have_attribute("alt", f"{kind}.jpg")
        await page.sees("2 faces", "#answer")


async def test_the_webcam_is_answered_frame_by_frame(open_page):
    page = await open_page()
    await page.page.locator("#camera-start").click()
    await page.sees("frames/s", "#waiting")
    await expect(page.page.locator("#overlay .face-mark")).to_have_count(2)
    await page.sees("2 faces", "#answer")
    rate = page.page.locator("#waiting")
    await expect(rate).not_to_have_text(await rate.inner_text())
    await page.page.locator("#camera-stop").click()
    await page.sees("Drop pictures here")
    assert await page.page.evaluate("document.getElementById('video').srcObject") is None


async def test_with_api_keys_it_asks_for_one_and_says_when_it_is_wrong(open_page, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    page = await open_page(api_keys=keys)
    await page.sees("key needed", "#health")
    await page.upload(PICTURE)
    await page.page.locator("#key-input").fill("wrong")
    await page.page.get_by_role("button", name="Use this key").click()
    await page.sees("does not know this key", "#key-dialog")
    await page.page.locator("#key-input").fill("secret")
    await page.page.keyboard.press("Enter")
    await page.sees("2 faces", "#answer")
    await page.sees("Bearer $FERRY_API_KEY", ".calls pre")
    await page.page.locator("#camera-again").click()
    await page.sees("frames/s", "#waiting")
    await page.page.locator("#tab-cluster").click()
    await page.sees("Requests", "#cluster")


async def test_whoever_gives_no_key_gets_no_answer(open_page, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    page = await open_page(api_keys=keys)
    await page.upload(PICTURE)
    await page.page.get_by_role("button", name="Cancel").click()
    await page.sees("API key", "#answer [role=alert]")


async def test_the_cluster_tab_shows_what_happens(open_page):
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    await page.page.locator("#tab-recognise").focus()
    await page.page.keyboard.press("ArrowRight")
    await expect(page.page.locator("#tab-cluster")).to_be_focused()
    for text in ("Requests", "Latency", "p50", "Cache", "stable", "healthy", "efficientnet"):
        await page.sees(text, "#cluster")
    await page.page.reload()
    await page.sees("Requests", "#cluster")


async def test_a_variant_that_is_not_healthy_says_why(open_page, ensembler):
    ensembler.available = False
    page = await open_page(path="/#cluster")
    await page.sees("not healthy", "#cluster")
    await page.sees("no answer from efficientnet", "#cluster")
    (variant,) = (await page.http.client.get("/api/status")).json()["variants"]
    assert variant["reason"] == "no answer from efficientnet"


async def test_verdicts_of_a_judge_are_in_the_cluster_tab(open_page):
    page = """# TYPE rpc_server_call_duration_seconds histogram
# TYPE ferry_verdict_interval gauge
ferry_verdict_interval{variant="canary",metric="accuracy",end="low"} 0.004
ferry_verdict_interval{variant="canary",metric="accuracy",end="high"} 0.038
ferry_verdict_interval{variant="canary",metric="errors",end="low"} 0.01
ferry_verdict_interval{variant="canary",metric="errors",end="high"} 0.03
# TYPE ferry_verdict_worse gauge
ferry_verdict_worse{variant="canary",metric="errors"} 1.0
"""
    async with metrics_of(page) as port:
        opened = await open_page(path="/#cluster", metrics_endpoints=f"127.0.0.1:{port}")
        for text in ("canary", "0.4 and 3.8", "better", "1.0 and 3.0", "worse"):
            await opened.sees(text, "#experiments")


async def test_calls_for_programs_name_the_port_that_people_reach(open_page):
    page = await open_page(public_port=443)
    await page.upload(PICTURE)
    await page.page.get_by_role("button", name="Python", exact=True).click()
    await page.sees('Client("127.0.0.1:443")', "#answer")


@pytest.mark.parametrize("name", ["0.jpg", 'it\'s a "photo"; really, $HOME.jpg'])
async def test_calls_for_programs_do_what_the_page_did(open_page, ensembler, tmp_path, monkeypatch, name):
    """With a key and options, each line as it stands there."""
    keys = tmp_path / "keys"
    keys.write_text(f"shop {hashlib.sha256(b'secret').hexdigest()}\n")
    port = free_port()
    page = await open_page(api_keys=keys, port=port)
    await page.page.locator("#key-button").click()
    await page.page.locator("#key-input").fill("secret")
    await page.page.keyboard.press("Enter")
    await page.page.locator("#files").set_input_files([{"name": name, "mimeType": "image/jpeg", "buffer": PICTURE}])
    await page.sees("2 faces", "#answer")
    await page.page.locator(".options summary").click()
    await page.page.locator("[name=max_faces]").fill("3")
    await page.page.locator("[name=vote]").select_option("hard")
    await page.page.locator("[name=bypass_cache]").check()
    await page.sees("bypass_cache=true", ".calls pre")
    (tmp_path / name).write_bytes(PICTURE)
    monkeypatch.setenv("FERRY_API_KEY", "secret")
    for language, tool in (("curl", "curl"), ("Python", sys.executable), ("grpcurl", "grpcurl")):
        found = shutil.which(tool)
        if found is None:
            continue
        await page.page.get_by_role("button", name=language, exact=True).click()
        line = await page.page.locator(".calls pre").inner_text()
        command = [found, "-c", line] if language == "Python" else ["bash", "-c", line]
        asked = len(ensembler.requests)
        await _answers(command, tmp_path)
        (request,) = ensembler.requests[asked:]
        assert (request.image, request.options.max_faces, request.options.vote) == (PICTURE, 3, VOTE_HARD), language


async def test_calls_for_programs_name_the_certificate_where_callers_need_one(open_page, tmp_path):
    own = Certificates(tmp_path / "own", trustme.CA())
    page = await open_page(tls=own.tls, port=free_port())
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    folder = tmp_path / "own" / "current"
    (folder / "0.jpg").write_bytes(jpeg(7))
    for language, tool in (("curl", "curl"), ("Python", sys.executable), ("grpcurl", "grpcurl")):
        await page.page.get_by_role("button", name=language, exact=True).click()
        line = await page.page.locator(".calls pre").inner_text()
        assert all(name in line for name in ("ca.crt", "tls.crt", "tls.key")), line
        if (found := shutil.which(tool)) is not None:
            await _answers([found, "-c", line] if language == "Python" else ["bash", "-c", line], folder)


async def _answers(command, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await done.communicate()
    assert done.returncode == 0, (command, err.decode())
    assert "happy" in out.decode().lower(), (command, out.decode())


async def test_the_cluster_gone_is_said(open_page):
    page = await open_page()
    await page.page.route("**/api/**", lambda route: route.abort())
    await page.upload(PICTURE)
    await page.sees("cannot be reached", "#answer [role=alert]")


async def test_it_is_used_with_the_keyboard_alone(open_page):
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    for _ in range(40):
        await page.page.keyboard.press("Tab")
        if await page.page.evaluate("document.activeElement.textContent") == "sad 61 %":
            break
    await page.page.keyboard.press("Enter")
    await expect(page.page.locator(".verdict")).to_have_text("sad61 %")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/#cluster"])
async def test_nothing_sticks_out_of_a_small_screen_and_words_can_be_read(open_page, scheme, path):
    page = await open_page(width=360, scheme=scheme, path=path)
    if path == "/":
        await page.upload(PICTURE, jpeg(9, (400, 300)))
        await page.sees("2 faces", "#answer")
    else:
        await page.sees("Requests", "#cluster")
    assert await page.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert await page.page.evaluate(CONTRASTS) == []


CONTRASTS = """() => {
    const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            const [r, g, b, a = 1] = numbers(colour);
            if (a === 1 && colour.startsWith("rgb")) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const node of document.querySelectorAll("main *")) {
        const words = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!words || !node.checkVisibility() || node.closest("svg, .waiting, .mark, [aria-pressed=true]")) continue;
        const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(node.textContent.trim());
    }
    return faint;
}"""
"""Texts with less contrast than WCAG's 4.5 to 1."""


async def test_the_policy_lets_nothing_else_in(start_http):
    http = await start_http()
    page = await http.client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for name in ("main.js", "base.css", "ferry.svg"):
        assert (await http.client.get(f"/page/{name}")).status_code == 200
    again = await http.client.get("/page/main.js", headers={"if-none-match": "*"})
    assert again.status_code == 200
    known = await http.client.get("/page/main.js", headers={"if-none-match": again.headers["etag"]})
    assert known.status_code == 304
    for name in ("none.js", "..%2fapp.py", "%2e%2e/app.py"):
        assert (await http.client.get(f"/page/{name}")).status_code == 404


async def test_one_setting_switches_it_off(start_http):
    http = await start_http(http_page=False)
    assert (await http.client.get("/")).status_code == 404
    assert (await http.client.get("/page/main.js")).status_code == 404
    assert isinstance((await http.client.get("/api/status")), httpx.Response)
    assert (await http.client.get("/api/status")).status_code == 200
