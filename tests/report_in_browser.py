"""Opens reports in a browser, on a phone and a desktop, light and dark, and on paper.

    apt-get install chromium chromium-driver; pip install selenium
    cargo build --release
    python3 tests/report_in_browser.py target/release/ofa [RUN …]

Two reports are always looked at: that of a short run on the bundled images, and the same with 43 classes, twelve networks, warnings,
limits without a network and long names. Finished runs that are named are copied, rendered again, and looked at too. Then every
check is shown to fail on a page that breaks what it checks. CHROMIUM and CHROMEDRIVER name the programs (default: in /usr/bin).
"""

import argparse
import base64
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("SE_OFFLINE", "true")  # no driver is ever downloaded
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMEDRIVER = os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESKTOP, PAPER = 390, 1280, 688  # A4 less two margins of 14 mm
THEMES = ("light", "dark")
SMALLEST_TEXT = 10.0  # pixels of an axis label
LOWEST_CONTRAST = 4.5  # WCAG 2.1 AA
LEAST_DIFFERENCE = 15.0  # CIE76, of two series as the colour-blind see them

PLAN = """
[train]
space = "tiny-28"
data = "bundled"
batch_size = 16
validation_images = 60
calibration_images = 32
[[train.phases]]
name = "largest"
epochs = 0.01
learning_rate = 0.05
[[train.phases]]
name = "all"
opens = { kernel_size = 2, depth = 2, expansion = 2 }
epochs = 0.01
learning_rate = 0.05
[collect]
count = 12
calibration_images = 32
[deploy]
host_nets = 6
host_runs = 3
[search]
evaluations = 200
[[search.devices]]
device = "pixel4-cpu"
max_latency_ms = [0.16, 0.2, 0.26]
[[search.devices]]
device = "jetson-nano"
max_latency_ms = [0.4, 0.45]
"""

# Colours as seen without one kind of cone (Machado, Oliveira, Fernandes 2009, severity 1), on linear RGB.
COLOUR_BLINDNESS = {
    "full vision": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour):
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]


def contrast(a, b):
    def light(colour):
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear(colour)))

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    """CIE L*a*b* of linear RGB, D65."""
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(m * c for m, c in zip(row, rgb)) / white for row, white in zip(to_xyz, (0.9505, 1.0, 1.089))]
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (max(v, 0) for v in xyz))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def least_difference(colours):
    """The smallest difference of two of the colours under any kind of colour blindness, and where."""
    found = []
    for kind, matrix in COLOUR_BLINDNESS.items():
        seen = [lab([sum(m * c for m, c in zip(row, linear(colour))) for row in matrix]) for colour in colours]
        for i, one in enumerate(seen):
            for j in range(i):
                found.append((sum((p - q) ** 2 for p, q in zip(one, seen[j])) ** 0.5, f"c{j} and c{i}, {kind}"))
    return min(found)


# What is measured inside a page.
MEASURE = r"""
const shown = e => e.checkVisibility({ visibilityProperty: true });
const name = e => (e.className.baseVal ?? e.className ?? "") + " " + e.tagName + ": " + (e.textContent || "").trim().slice(0, 40);
const box = e => e.getBoundingClientRect();
"""
OVERFLOW = MEASURE + r"""
const wide = [...document.querySelectorAll("body *")].filter(e => shown(e) && e.id !== "tip" && !e.closest(".scroll *") &&
  !e.closest("svg *") && box(e).right > innerWidth + 1);
// Nor does anything leave the box that it is in.
wide.push(...[...document.querySelectorAll(".panel *, figure *")].filter(e => shown(e) && !e.closest(".scroll *, svg *, .track, .ticks") &&
  box(e).right > box(e.closest(".panel, figure")).right + 1));
const page = document.documentElement.scrollWidth;
return (page > innerWidth ? ["the page is " + page + " wide"] : []).concat(wide.slice(0, 5).map(name));
"""
ALIGNED = MEASURE + r"""
const bad = [];
const groups = [[".cards tr", innerWidth < 760 ? "td[data-name]>div" : "td.n>div"], [".facts", "dd"], [".rows", ".n"], ["tbody tr", "td.n"]];
// On a phone the values of a card, a list or a row of bars end at one line; in a table, those of a column do.
for (const [within, values] of groups) {
  for (const group of document.querySelectorAll(within)) {
    const cells = [...group.querySelectorAll(values)].filter(shown);
    for (const cell of cells) {
      if (!["right", "end"].includes(getComputedStyle(cell).textAlign)) bad.push("not right-aligned: " + name(cell));
    }
    if (within === ".cards tr" && innerWidth < 760) {
      const ends = cells.map(cell => { const range = document.createRange(); range.selectNodeContents(cell); return range.getBoundingClientRect().right; });
      if (Math.max(...ends) - Math.min(...ends) > 2) bad.push("ends differ: " + ends.join(" "));
    }
  }
}
if (innerWidth > 1000) for (const table of document.querySelectorAll("table:not(.matrix)")) {
  if (shown(table) && table.parentElement.scrollWidth > table.parentElement.clientWidth + 1) bad.push("table is cut off: " + name(table));
}
return bad.slice(0, 5);
"""
COLUMNS = MEASURE + r"""
return [...document.querySelectorAll(".plots")].map(plots => {
  const tops = [...plots.children].slice(0, 2).map(figure => Math.round(box(figure).top));
  return tops.length < 2 ? null : tops[0] === tops[1] ? 2 : 1;
}).filter(columns => columns !== null);
"""
AXES = MEASURE + r"""
const bad = [];
for (const plot of document.querySelectorAll("svg.plot")) {
  const scale = box(plot).width / plot.viewBox.baseVal.width, around = box(plot);
  const texts = [...plot.querySelectorAll("text")];
  for (const text of texts) {
    const size = parseFloat(getComputedStyle(text).fontSize) * scale, at = box(text);
    if (size < arguments[0]) bad.push(size.toFixed(1) + " px: " + name(text));
    if (at.left < around.left - 1 || at.right > around.right + 1 || at.bottom > around.bottom + 1) bad.push("cut off: " + name(text));
  }
  for (const a of texts) for (const b of texts) {
    if (a === b || a.textContent === "" || b.textContent === "") continue;
    const [p, q] = [box(a), box(b)];
    if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 3 && q.top < p.bottom - 3) {
      bad.push("overlap: " + a.textContent + " and " + b.textContent);
    }
  }
}
return bad.slice(0, 5);
"""
KEYS = MEASURE + r"""
const bad = [];
for (const legend of document.querySelectorAll(".legend")) {
  const shapes = [...legend.querySelectorAll(".key")].map(key => key.innerHTML.replace(/ c\d"/g, '"'));
  if (new Set(shapes).size < shapes.length) bad.push("two series of one shape: " + legend.textContent);
}
return bad;
"""
COLOURS = MEASURE + r"""
const rgb = text => text.match(/[\d.]+/g).slice(0, 3).map(Number);
const probe = document.body.appendChild(document.createElement("i"));
const colours = [0, 1, 2, 3].map(c => { probe.style.color = "var(--c" + c + ")"; return rgb(getComputedStyle(probe).color); });
probe.style.color = "var(--card)";
const card = rgb(getComputedStyle(probe).color);
probe.remove();
const texts = [...document.querySelectorAll("body *")].filter(e => shown(e) && !e.closest("svg") && e.id !== "tip" &&
  [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
const pairs = texts.map(e => {
  let ground = e;
  while (ground && /rgba\(.*, 0\)|transparent/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
  return [name(e), rgb(getComputedStyle(e).color), rgb(getComputedStyle(ground || document.documentElement).backgroundColor)];
});
const labels = [...document.querySelectorAll("svg.plot text")].map(e => [name(e), rgb(getComputedStyle(e).fill), card]);
return { colours, card, body: rgb(getComputedStyle(document.body).backgroundColor), pairs: pairs.concat(labels) };
"""
FOCUSABLE = MEASURE + r"""
return [...document.querySelectorAll("a[href], summary, [tabindex]")].filter(shown);
"""
FOCUSED = MEASURE + r"""
const e = document.activeElement, style = getComputedStyle(e), at = box(e);
return { element: e, name: name(e), outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
  inside: at.bottom > 0 && at.top < innerHeight };
"""
TIP = """
const tip = document.getElementById("tip"), at = tip.getBoundingClientRect();
return { shown: getComputedStyle(tip).opacity > 0.5, text: tip.textContent,
  inside: at.left >= 0 && at.right <= innerWidth && at.top >= 0 && at.bottom <= innerHeight };
"""
PAPER_STYLE = MEASURE + r"""
const bad = [];
if (getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)") bad.push("the ground is not white");
if ([...document.querySelectorAll("nav, #tip")].some(shown)) bad.push("contents or hover text are printed");
const head = document.querySelector(".cards thead");
if (head && !shown(head)) bad.push("the table of networks has lost its head");
return bad;
"""


class Browser:
    """A headless browser that reports what a page says and asks for."""

    def __init__(self, profile):
        options = Options()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))

    def open(self, page, width, theme):
        self.screen(width, theme)
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.page = page.resolve().as_uri()
        self.driver.get(self.page)

    def screen(self, width, theme, media=""):
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def measure(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def messages(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Every address asked for but that of the page itself."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        asked += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        own = [url for url in asked if url.split("#")[0] == self.page]
        return [url for url in asked if url.split("#")[0] != self.page and not url.startswith("data:")] + own[1:]

    def press(self, *keys):
        actions = ActionChains(self.driver, duration=0)
        for key in keys:
            actions.send_keys(key)
        actions.perform()


def quiet(browser, width):
    """No message in the console, no request."""
    time.sleep(0.2)
    return [f"console: {text}" for text in browser.messages()] + [f"request: {url}" for url in browser.requests()]


def layout(browser, width):
    """Nothing sticks out, values are right-aligned, and there are two columns where there is room."""
    columns = browser.measure(COLUMNS)
    wrong = [] if all(n == (1 if width == PHONE else 2) for n in columns) else [f"columns at {width}: {columns}"]
    return browser.measure(OVERFLOW) + browser.measure(ALIGNED) + wrong


def axes(browser, width):
    """Labels of axes are large enough, inside of their plot, and apart."""
    return browser.measure(AXES, SMALLEST_TEXT)


def colours(browser, width):
    """Text stands out from its ground, and series differ in colour, for the colour-blind too, and in shape."""
    seen = browser.measure(COLOURS)
    bad = browser.measure(KEYS)
    for name, text, ground in seen["pairs"]:
        if contrast(text, ground) < LOWEST_CONTRAST:
            bad.append(f"contrast {contrast(text, ground):.1f}: {name}")
    difference, where = least_difference(seen["colours"])
    if difference < LEAST_DIFFERENCE:
        bad.append(f"colours differ by {difference:.0f}: {where}")
    bad += [f"c{i} on a card: contrast below 3" for i, c in enumerate(seen["colours"]) if contrast(c, seen["card"]) < 3]
    return bad[:5]


def hover(browser, width):
    """The pointer on a value shows it, inside of the window, and hides it when it leaves."""
    bad = []
    for kind in (".plot circle.hit", ".net rect", ".matrix td, .confusion .right", ".rows .track"):
        target = next((e for e in browser.driver.find_elements(By.CSS_SELECTOR, kind) if e.is_displayed()), None)
        if target is None:
            # Runs of earlier versions were not counted by class.
            if "matrix" in kind and not browser.driver.find_elements(By.ID, "classes"):
                continue
            bad.append(f"no {kind} to hover over")
            continue
        browser.measure("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", target)
        time.sleep(0.1)
        ActionChains(browser.driver, duration=0).move_to_element(target).perform()
        tip = browser.measure(TIP)
        # Something else may lie on top of the target: any value will do.
        values = browser.measure("return [...document.querySelectorAll('[data-tip]')].map(e => e.dataset.tip)")
        if not (tip["shown"] and tip["inside"] and tip["text"] in values):
            bad.append(f"{kind}: {tip}")
        heading = browser.driver.find_element(By.TAG_NAME, "h1")
        browser.measure("scrollTo({top: 0, behavior: 'instant'})")
        ActionChains(browser.driver, duration=0).move_to_element(heading).perform()
        if browser.measure(TIP)["shown"]:
            bad.append(f"{kind}: the tip stays")
    return bad


def keyboard(browser, width):
    """Tab goes through everything once, in order, visibly; arrows show the values of a plot; Enter opens other networks."""
    browser.measure("scrollTo({top: 0, behavior: 'instant'}); document.activeElement.blur()")
    expected = browser.measure(FOCUSABLE)
    bad = []
    for place, element in enumerate(expected):
        browser.press(Keys.TAB)
        focused = browser.measure(FOCUSED)
        if focused["element"] != element:
            return bad + [f"focus {place} is on {focused['name']}, not on {element.tag_name} {element.text[:40]}"]
        if focused["outline"] < 2 or not focused["inside"]:
            bad.append(f"focus is not to be seen: {focused['name']}")
    plot = browser.driver.find_element(By.CSS_SELECTOR, "svg.plot")
    browser.measure("arguments[0].focus()", plot)
    time.sleep(0.1)  # scrolling hides what is shown
    shown = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ESCAPE):
        browser.press(key)
        shown.append(browser.measure(TIP))
    texts = [tip["text"] for tip in shown]
    if [tip["shown"] for tip in shown] != [True, True, True, False] or texts[0] != texts[2] or not all(tip["inside"] for tip in shown[:3]):
        bad.append(f"arrows on a plot: {shown}")
    closed = browser.driver.find_elements(By.CSS_SELECTOR, "details:not([open])>summary")
    if closed:
        browser.measure("arguments[0].focus()", closed[0])
        browser.press(Keys.ENTER)
        if not closed[0].find_element(By.XPATH, "..").get_attribute("open"):
            bad.append("Enter opens no other network")
    return bad[:5]


def paper(browser, width):
    """It prints in its light colours, with its tables whole, on a sensible number of pages."""
    browser.screen(PAPER, "dark", media="print")
    bad = browser.measure(PAPER_STYLE) + [f"on paper: {text}" for text in browser.measure(OVERFLOW)]
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True, "paperWidth": 8.27, "paperHeight": 11.69})
    pdf = base64.b64decode(printed["data"])
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    if not pdf.startswith(b"%PDF") or not 2 <= pages <= 20:
        bad.append(f"PDF of {len(pdf)} bytes and {pages} pages")
    return bad


CHECKS = (layout, axes, colours, hover, keyboard, paper, quiet)


def findings(browser, page, checks=CHECKS):
    """What is wrong with a page, one after the other: (check, width, theme, finding)."""
    grounds = set()
    for width in (PHONE, DESKTOP):
        for theme in THEMES:
            browser.open(page, width, theme)
            grounds.add((theme, tuple(browser.measure(COLOURS)["body"])))
            for check in checks:
                for finding in check(browser, width):
                    yield check.__name__, width, theme, finding
    if len({ground for _, ground in grounds}) != 2:
        yield "colours", "all widths", "light and dark", f"are the same: {grounds}"


SAME_SHAPES = """
for (const legend of document.querySelectorAll(".legend")) {
  for (const key of legend.querySelectorAll(".key")) key.innerHTML = legend.querySelector(".key").innerHTML;
}
"""

# Changes of a page, and the check that each must fail.
BROKEN = [
    ("quiet", "</main>", '<img src="http://example.invalid/picture.png" alt=""></main>'),
    ("quiet", "</main>", "<script>console.warn('something')</script></main>"),
    ("quiet", "(function () {", "(function () { nothing();"),
    ("layout", "</main>", '<div style="width:2000px">wide</div></main>'),
    ("layout", "</style>", ".cards td>div{text-align:left}</style>"),
    ("layout", "</style>", ".cards td.n>div{padding-right:9px}.cards td.drawn>div{padding:0}</style>"),
    ("layout", "</style>", ".plots{grid-template-columns:1fr}</style>"),
    ("layout", "</style>", ".plots{grid-template-columns:1fr 1fr!important}</style>"),
    ("axes", "</style>", ".plot .tick{font-size:6px!important}</style>"),
    ("axes", "</style>", ".plot .tick{font-size:34px!important}</style>"),
    ("colours", "</style>", ":root{--soft:#9a9a9a!important}</style>"),
    ("colours", "</style>", ":root{--c1:#0a76b0!important}</style>"),
    ("colours", "</style>", ":root{--bg:#fff!important}</style>"),
    ("colours", "</main>", "<script>" + SAME_SHAPES + "</script></main>"),
    ("hover", 'document.addEventListener("pointermove", point);', ""),
    ("hover", "</style>", "#tip{transform:translateX(-2000px)}</style>"),
    ("keyboard", "</style>", "*{outline:none!important}</style>"),
    ("keyboard", 'tabindex="0"', 'tabindex="2"'),
    ("keyboard", "ArrowRight: 1", "ArrowUp: 1"),
    ("paper", "</style>", "@media print{:root{--bg:#222}}</style>"),
    ("paper", "</style>", "@media print{.panel{width:1500px}}</style>"),
]


def breaks(browser, page, folder):
    """Changes that no check noticed, or that the wrong one did."""
    text = page.read_text()
    missed = []
    for number, (check, old, new) in enumerate(BROKEN):
        if old not in text:
            missed.append(f"change {number}: the page has no {old}")
            continue
        broken = folder / f"broken-{number}.html"
        broken.write_text(text.replace(old, new))
        found = next(findings(browser, broken, [one for one in CHECKS if one.__name__ == check]), None)
        shown = " ".join((new or "no " + old).split())[:70]
        print(f"  {check:9} {'fails' if found else 'PASSES'} on {shown}", flush=True)
        if not found:
            missed.append(f"`{check}` passes a page with {new}")
    return missed


def rendered(program, run):
    subprocess.run([program, "report", run], check=True, stdout=subprocess.DEVNULL)
    return run / "report.html"


def crowded(run):
    """The results of a run with many classes and networks, long names, warnings and limits without a network."""
    rng = random.Random(0)
    path = run / "results.json"
    results = json.loads(path.read_text())
    names = [f"class {i}" for i in range(41)] + ["Donaudampfschifffahrtsgesellschaftskapitän", "a <b> & \"c\""]
    images = [rng.randrange(8, 60) for _ in names]

    def counted(case):
        confusion = [[0] * len(names) for _ in names]
        for of, count in enumerate(images):
            for _ in range(count):
                confusion[of][of if rng.random() < 0.8 else rng.randrange(len(names))] += 1
        case["confusion"] = confusion
        answers = [sum(row[i] for row in confusion) for i in range(len(names))]
        case["per_class"] = [
            {"class": name, "images": images[i], "recall": confusion[i][i] / images[i], "precision": confusion[i][i] / max(answers[i], 1)}
            for i, name in enumerate(names)
        ]
        return case

    first = results["cases"][0]
    results["class_names"] = names
    results["cases"] = [counted(case) for case in results["cases"]]
    for number in range(12 - len(results["cases"])):
        case = counted(copy.deepcopy(first))
        case["device"] = "a-board-with-a-rather-long-name-2024"
        case["recommended"] = number == 1
        case["constraint"] = {"latency_ms": 1.5 + number, "sram_kb": 320}
        case["onnx"] = f"nets/a-board-with-a-rather-long-name-2024-{1.5 + number}ms-sram-320kb.onnx"
        case["prediction_missed"] = number == 0
        results["cases"].append(case)
    full = copy.deepcopy(first)
    full.update(device=None, constraint={}, recommended=False, predicted_accuracy=None, predicted_deviation=None, onnx="nets/full.onnx")
    results["reference"] = counted(full)
    results["infeasible"] = [
        {"device": "stm32f746", "constraint": {"sram_kb": 12}, "closest": {"sram_kb": 41}, "infeasible": True, "minimum": {"sram_kb": 41}}
    ]
    results["warnings"] = ["2 images are in more than one of training, validation and test (identical files)", "x" * 90]
    path.write_text(json.dumps(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("runs", type=Path, nargs="*", help="folders of finished runs")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps the reports")
    options = parser.parse_args()
    program = options.program.resolve()
    failures = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.keep:
            options.keep.mkdir(parents=True)
            folder = options.keep
        (folder / "plan.toml").write_text(PLAN)
        subprocess.run([program, "run", folder / "plan.toml", "--out", folder / "short", "-q"], check=True, stdout=subprocess.DEVNULL)
        shutil.copytree(folder / "short", folder / "crowded")
        crowded(folder / "crowded")
        runs = [folder / "short", folder / "crowded"]
        for number, run in enumerate(options.runs):
            runs.append(folder / f"given-{number}-{run.resolve().name}")
            shutil.copytree(run, runs[-1])
        browser = Browser(Path(scratch) / "profile")
        try:
            for run in runs:
                wrong = list(findings(browser, rendered(program, run)))
                print(f"{run.name}: {len(wrong)} findings", flush=True)
                failures += [f"{run.name}: {check} at {width} {theme}: {finding}" for check, width, theme, finding in wrong]
            if not failures:
                print("pages that are broken on purpose:", flush=True)
                failures += breaks(browser, folder / "crowded/report.html", folder)
        finally:
            browser.driver.quit()
    print("\n".join(failures) or "all reports are as they should be")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
