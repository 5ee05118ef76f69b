"""Clicks in a real browser count, whatever answer comes between the press of the button and its release."""

import pytest

from tests.gateway.fakes import jpeg

expect = pytest.importorskip("playwright.async_api").expect
PICTURE = jpeg(120, (400, 300))


async def test_nothing_moves_under_a_click_while_an_answer_is_awaited(open_page):
    """What is typed counts when something else is clicked on: then the picture is asked for again."""
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    await page.page.locator(".options summary").click()
    await page.page.locator("[name=max_faces]").fill("3")
    await page.page.locator("[name=bypass_cache]").click()
    await expect(page.page.locator("[name=bypass_cache]")).to_be_checked()


async def _pressed(page, selector, text=""):
    """The mouse button goes down in the middle of the last one with this text, and is not let go of."""
    middle = await page.page.evaluate(
        """([selector, text]) => {
            const found = [...document.querySelectorAll(selector)].filter((node) => node.textContent.includes(text));
            const place = found.at(-1).getBoundingClientRect();
            return [place.x + place.width / 2, place.y + place.height / 2];
        }""",
        [selector, text],
    )
    await page.page.mouse.move(*middle)
    await page.page.mouse.down()


async def test_a_click_counts_although_a_shorter_answer_comes_before_the_button_is_let_go(open_page, ensembler):
    page = await open_page()
    await page.upload(PICTURE)
    await page.sees("2 faces", "#answer")
    await page.page.locator(".options summary").click()
    ensembler.faces = 0
    await page.page.locator("[name=max_faces]").fill("3")
    await page.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    await _pressed(page, "[name=bypass_cache]")
    await page.sees("No face found", "#answer")
    await page.page.mouse.up()
    await expect(page.page.locator("[name=bypass_cache]")).to_be_checked()


async def test_a_click_on_a_picture_counts_although_answers_to_others_come_meanwhile(open_page, ensembler):
    page = await open_page()
    ensembler.gate.clear()
    await page.upload(PICTURE, jpeg(9, (400, 300)), jpeg(30, (400, 300)))
    await _pressed(page, "#strip button")
    ensembler.gate.set()
    await expect(page.page.locator("#strip .mark")).to_have_text(["2", "2", "2"])
    await page.page.mouse.up()
    await expect(page.page.locator("#photo")).to_have_attribute("alt", "2.jpg")


@pytest.mark.parametrize("where", ["#answer .faces button", "#overlay .face-mark"])
async def test_a_face_of_the_webcam_can_be_chosen_while_frames_come(open_page, where):
    page = await open_page()
    await page.page.locator("#camera-start").click()
    await page.sees("2 faces", "#answer")
    await _pressed(page, where, "sad")
    await page.page.locator(".times").evaluate("(node) => (node.dataset.old = 'yes')")
    await expect(page.page.locator(".times[data-old]")).to_have_count(0)
    await page.page.mouse.up()
    await expect(page.page.locator(".verdict")).to_contain_text("sad")
    await expect(page.page.locator(".faces [aria-pressed=true]")).to_have_text("sad 61 %")
