#!/usr/bin/env python3
"""Uses the page /docs as a person would, in headless Chromium: logs in, calls the API, sees the answer.

    page.py BASE-URL KEY PICTURE

One line for each check: "ok NAME" or "FAIL NAME: WHY". The certificate is self-signed; everything else is as it would be.
"""
import json
import os
import sys
import tempfile

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as seen
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60
failures = 0


def check(name, is_good, why=""):
    global failures
    failures += not is_good
    print(f"ok {name}" if is_good else f"FAIL {name}: {str(why)[:500]}", flush=True)


def open_browser(folder):
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    # What a browser asks its maker for is not wanted here.
    for argument in ("headless=new", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
                     "disable-component-update", "disable-sync", "disable-dev-shm-usage", f"user-data-dir={folder}",
                     "window-size=1400,2000"):
        options.add_argument(f"--{argument}")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("acceptInsecureCerts", True)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    browser.set_script_timeout(PATIENCE_S)
    return browser


class Page:
    def __init__(self, browser, base):
        self.browser, self.base = browser, base
        self.requests = []
        # Before any script of the page: what its policy refuses is written down.
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": """
            window.refused = [];
            document.addEventListener("securitypolicyviolation",
                e => window.refused.push(e.effectiveDirective + " " + e.blockedURI + " " + e.sample));"""})

    def find(self, selector, inside=None):
        return WebDriverWait(inside or self.browser, PATIENCE_S).until(seen.presence_of_element_located((By.CSS_SELECTOR, selector)))

    def gone(self, selector):
        WebDriverWait(self.browser, PATIENCE_S).until_not(seen.presence_of_element_located((By.CSS_SELECTOR, selector)))

    def click(self, selector):
        element = WebDriverWait(self.browser, PATIENCE_S).until(seen.element_to_be_clickable((By.CSS_SELECTOR, selector)))
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, selector, text):
        element = WebDriverWait(self.browser, PATIENCE_S).until(seen.visibility_of_element_located((By.CSS_SELECTOR, selector)))
        element.clear()
        element.send_keys(text)

    def open_operation(self, operation):
        if not self.browser.find_elements(By.CSS_SELECTOR, f"{operation} .opblock-body"):
            self.click(f"{operation} .opblock-summary-control")
        self.find(f"{operation} .opblock-body")

    def open_everything(self):
        self.browser.execute_script("""
            document.querySelectorAll(".opblock:not(.is-open) .opblock-summary-control").forEach(b => b.click());""")
        WebDriverWait(self.browser, PATIENCE_S).until_not(
            lambda b: b.find_elements(By.CSS_SELECTOR, ".opblock:not(.is-open)"))

    def execute(self, operation, body=None):
        """Status and body of the answer that the page shows for the operation."""
        self.open_operation(operation)
        if self.browser.find_elements(By.CSS_SELECTOR, f"{operation} .btn-clear"):
            self.click(f"{operation} .btn-clear")
            self.gone(f"{operation} .live-responses-table")
        if body is not None:
            area = self.find(f"{operation} .body-param__text")
            # As typed: the field listens to input events.
            self.browser.execute_script("""
                const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
                set.call(arguments[0], arguments[1]);
                arguments[0].dispatchEvent(new Event("input", {bubbles: true}));
                arguments[0].dispatchEvent(new Event("change", {bubbles: true}));""", area, body)
        self.click(f"{operation} .execute")
        status = self.find(f"{operation} .live-responses-table tbody .response-col_status")
        WebDriverWait(self.browser, PATIENCE_S).until(lambda _: status.text.strip() not in ("", "Loading"))
        shown = self.find(f"{operation} .live-responses-table tbody .response-col_description pre").get_attribute("textContent")
        return status.text.split()[0], shown

    def refused(self):
        return self.browser.execute_script("return window.refused")

    def read_log(self):
        """What the console has said, but for advice and for the statuses of answers."""
        return [entry for entry in self.browser.get_log("browser") if entry["source"] not in ("recommendation", "network")]

    def read_requests(self):
        """The addresses that were asked since the last time."""
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        return self.requests


def authorize_key(page, key):
    page.click(".scheme-container .authorize")
    page.type("#api_key_value", key)
    page.click(".auth-container:has(#api_key_value) .auth-btn-wrapper .authorize")
    page.find(".auth-container .auth-btn-wrapper button[aria-label='Remove authorization']")
    page.click(".btn-done")
    page.gone(".modal-ux")


def main(base, key, picture):
    with tempfile.TemporaryDirectory() as folder:
        browser = open_browser(folder)
        try:
            page = Page(browser, base)
            browser.get(f"{base}/docs")
            title = page.find(".info .title").get_attribute("textContent")
            check("the page shows the document", "Practical Production Service" in title and "OAS 3.1" in title, title)
            described = browser.execute_async_script("""
                const done = arguments[arguments.length - 1];
                fetch("/openapi.json").then(r => r.json()).then(d => done(Object.values(d.paths).map(
                    item => Object.keys(item).filter(k => k !== "parameters").length).reduce((a, b) => a + b)));""")
            page.find(".opblock")
            shown = len(browser.find_elements(By.CSS_SELECTOR, ".opblock"))
            check("it has every operation", shown == described and shown > 30, f"{shown} of {described}")

            status, body = page.execute("#operations-predictions-predict", '{"features": [1, 2, 6]}')
            check("without a key it is 401", status == "401" and "Missing API key" in body, f"{status} {body}")
            authorize_key(page, key)
            status, body = page.execute("#operations-predictions-predict", '{"features": [1, 2, 6]}')
            check("with the key a prediction is made and shown", status == "201" and json.loads(body)["result"] == 3.0,
                  f"{status} {body}")
            use_account(page)

            browser.save_screenshot(picture)
            page.open_everything()
            check("every operation is shown", len(browser.find_elements(By.CSS_SELECTOR, ".opblock.is-open .opblock-body")) == described)
            broken = browser.execute_script("""
                return [...document.querySelectorAll(".errors-wrapper, .fallback")].map(e => e.textContent).concat(
                    document.body.textContent.match(/Could not render[^,.]*/g) || []);""")
            check("and nothing of it is broken", broken == [], broken)
            check("the policy refused nothing", page.refused() == [], page.refused())
            log = page.read_log()
            check("the console is silent", log == [], log)
            elsewhere = [url for url in page.read_requests() if not url.startswith((base, "data:", "blob:", "chrome:"))]
            check("nobody else was asked", elsewhere == [] and len(page.requests) > 4, elsewhere)
            prove_policy(page)
            browser.get(f"{base}/docs?url=/version&configUrl=/version")
            page.find(".opblock")
            check("an address in the query is not followed", "Practical Production Service" in page.find(".info .title").text)
        finally:
            browser.quit()
    return failures > 0


def log_in(page, name, password):
    """By the page's own form, which asks the token's address."""
    page.click(".scheme-container .authorize")
    page.type("#oauth_username", name)
    page.type("#oauth_password", password)
    page.click(".auth-container:has(#oauth_username) .auth-btn-wrapper .authorize")
    form = "//div[@class='auth-container'][.//h4[contains(., 'OAuth2')]]"
    WebDriverWait(page.browser, PATIENCE_S).until(lambda b: b.find_elements(
        By.XPATH, f"{form}//button[text()='Logout'] | {form}//*[contains(@class, 'errors')]"))
    errors = [e.text for e in page.browser.find_elements(By.XPATH, f"{form}//*[contains(@class, 'errors')]")]
    page.click(".btn-done")
    page.gone(".modal-ux")
    return errors


def use_account(page):
    person = {"username": "reader", "email": "reader@example.com", "password": "testpass123"}
    status, body = page.execute("#operations-accounts-register", json.dumps(person))
    check("an account is made", status == "201" and json.loads(body)["username"] == "reader", f"{status} {body}")
    text = '{"text": "I love this product!"}'
    status, body = page.execute("#operations-sentiment-analyze", text)
    check("without a login analyze is not for the key of no person", status == "403", f"{status} {body}")
    errors = log_in(page, "reader", "wrong-password")
    check("a wrong password is told", len(errors) == 1 and "401" in errors[0], errors)
    errors = log_in(page, "reader", "testpass123")
    check("the login is good", errors == [], errors)
    status, body = page.execute("#operations-sentiment-analyze", text)
    check("analyze answers, and the page shows it", status == "200" and json.loads(body)["sentiment"] == "positive",
          f"{status} {body}")
    status, body = page.execute("#operations-sentiment-listAnalyses")
    check("it is in the history", status == "200" and [row["text"] for row in json.loads(body)] == ["I love this product!"],
          f"{status} {body}")


def prove_policy(page):
    """What an attacker would put into the page does not run, and the checks above would have seen it."""
    browser = page.browser
    browser.execute_script("""
        window.ran = false;
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);""")
    check("a script in the page does not run", browser.execute_script("return window.ran") is False)
    browser.execute_async_script("""
        const done = arguments[0];
        fetch("https://localhost:1/").catch(() => setTimeout(done, 0));""")
    WebDriverWait(browser, PATIENCE_S).until(lambda _: len(page.refused()) > 1)
    refused = page.refused()
    check("what the policy refuses is seen", any("script-src" in r for r in refused) and any("connect-src" in r for r in refused), refused)
    check("and stands in the console", any("Content Security Policy" in e["message"] for e in page.read_log()))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except WebDriverException as error:
        print(f"FAIL the browser could be used: {type(error).__name__} {error}"[:1500].replace("\n", " "))
        raise
