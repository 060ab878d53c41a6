"""The page that a report is printed on: its style and its frame.

One file, no scripts, no outside addresses: the content policy in the head forbids the browser to fetch anything, so a
report may be mailed or archived and looks the same in ten years. Colours are variables with a set for light and one
for dark pages; charts take theirs from here.
"""

from __future__ import annotations

from ranvier.diagnose.markup import element, text

__all__ = ["page"]

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf8f4; --surface: #ffffff; --ink: #1f2328; --muted: #5c6470; --rule: #e4e0d8; --wash: #f2efe8;
  --blue: #2b6cb0; --orange: #c05621; --green: #2f7d4f; --purple: #7b4fb3; --brown: #8a6d3b; --grey: #5c6470;
  --on-fill: #ffffff; --on-mid: #1f2328;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, Charter, "Bitstream Charter", "Source Serif 4",
    "Noto Serif", "Noto Serif CJK SC", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", "Noto Sans", "Helvetica Neue", "PingFang SC", "Microsoft YaHei",
    "Noto Sans CJK SC", sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131619; --surface: #1a1e22; --ink: #e9e6df; --muted: #a0a8b1; --rule: #2e343a; --wash: #22272c;
    --blue: #6fb1ee; --orange: #f0965c; --green: #74c796; --purple: #b99aea; --brown: #d0b27a; --grey: #a0a8b1;
    --on-fill: #10151a; --on-mid: #10151a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font: 400 1rem/1.6 var(--sans);
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
main { max-width: 66rem; margin: 0 auto; padding: 2.75rem 1.5rem 4rem; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.15; letter-spacing: -0.01em; text-wrap: balance; }
h1 { font-size: clamp(1.9rem, 1.3rem + 2.6vw, 2.9rem); margin: 0.35rem 0 0.6rem; }
h2 { font-size: 1.55rem; margin: 0 0 0.9rem; }
h2 + p { margin-top: -0.5rem; }
h3 { font-size: 1rem; font-weight: 650; margin: 0 0 0.6rem; }
p { margin: 0 0 0.9rem; max-width: 44rem; text-wrap: pretty; }
.lead { font-size: 1.13rem; line-height: 1.55; }
.muted { color: var(--muted); }
.small { font-size: 0.86rem; }
.brand { color: var(--muted); font-size: 0.86rem; margin: 0; }
.brand b { color: var(--blue); font-weight: 650; }
section { margin-top: 3.5rem; }
section > p:first-of-type { color: var(--muted); }
.card { background: var(--surface); border: 1px solid var(--rule); border-radius: 12px; padding: 1.25rem; margin: 0; }
.two { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1.25rem; }
.two > * { min-width: 0; }
.stack > * + * { margin-top: 1.25rem; }
.headline { display: grid; grid-template-columns: auto 1fr; gap: 1.5rem 2.75rem; align-items: center;
  margin-top: 2rem; padding: 1.6rem 1.75rem; }
.big { font: 600 clamp(3.2rem, 2.2rem + 4.6vw, 5rem)/1 var(--serif); letter-spacing: -0.03em; color: var(--blue); }
.big + p { margin: 0.55rem 0 0; max-width: 20rem; font-size: 0.95rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.4rem, 1fr)); gap: 1.1rem 1.5rem; margin: 0; }
.tiles div { border-left: 2px solid var(--rule); padding-left: 0.85rem; }
.tiles dt, .facts dt { color: var(--muted); font-size: 0.86rem; }
.tiles dd { margin: 0; font-size: 1.16rem; font-weight: 600; }
.facts { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: 0.3rem 1.25rem; margin: 0; }
.facts dt { padding-top: 0.12rem; }
.facts dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; }
th, td { text-align: left; padding: 0.42rem 0.9rem 0.42rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--muted); font-weight: 500; font-size: 0.86rem; vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
tfoot > tr > * { border-top: 2px solid var(--rule); border-bottom: 0; font-weight: 600; }
.num { text-align: right; white-space: nowrap; }
tr.best > * { background: color-mix(in srgb, var(--blue) 11%, transparent); }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--blue); outline-offset: 3px;
  border-radius: 4px; }
.tall { max-height: 34rem; overflow: auto; }
.tall thead th { position: sticky; top: 0; background: var(--surface); box-shadow: 0 1px 0 var(--rule); }
svg.chart { display: block; width: 100%; height: auto; font-family: var(--sans); font-variant-numeric: tabular-nums; }
svg.matrix { max-width: 34rem; margin: 0 auto; }
svg .tip { pointer-events: none; }
svg .hit:hover .tip { opacity: 1; }
figure { margin: 0; }
img { display: block; image-rendering: pixelated; }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.2rem, 1fr)); gap: 1.1rem 1rem; }
.samples img { width: 100%; height: auto; border: 1px solid var(--rule); border-radius: 6px; }
.samples img.ink, .weights img { background: #fff; }
.samples figcaption { padding-top: 0.4rem; line-height: 1.35; font-size: 0.93rem; }
.samples figcaption > span { display: block; }
.right { color: var(--blue); } .wrong { color: var(--orange); }
.weights { display: grid; grid-template-columns: repeat(auto-fill, minmax(4.6rem, 1fr)); gap: 0.7rem 0.6rem; }
.weights img { width: 100%; height: auto; border-radius: 4px; }
.weights figcaption { text-align: center; line-height: 1.5; }
.legend { display: flex; align-items: center; gap: 0.6rem; }
.ramp { width: 9rem; height: 0.7rem; border-radius: 3px; image-rendering: auto; }
.squares { width: auto; font-size: 0.86rem; }
.narrow th, .narrow td { padding-right: 0.6rem; }
.narrow th:last-child, .narrow td:last-child { padding-left: 0.7rem; }
.squares th, .squares td { border: 0; padding: 1px 2px; white-space: nowrap; vertical-align: middle; }
.squares tbody th { font-weight: 400; padding-right: 0.75rem; }
.squares thead th + th { text-align: center; }
.squares i { display: block; width: 1.35rem; height: 1.35rem; border-radius: 3px; margin: auto; }
pre { margin: 0.25rem 0 0; padding: 0.7rem 0.9rem; background: var(--wash); border-radius: 8px; overflow-x: auto;
  font: 0.9rem/1.5 var(--mono); }
pre code { user-select: all; }
code { font-family: var(--mono); font-size: 0.92em; }
pre code { font-size: inherit; }
ol.steps { margin: 0; padding: 0; list-style: none; display: grid; gap: 1.1rem; }
details > summary { cursor: pointer; font-weight: 600; }
details[open] > summary { margin-bottom: 0.75rem; }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  section { margin-top: 2.6rem; }
  .card { padding: 1rem; }
  .narrow { font-size: 0.84rem; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .headline { grid-template-columns: 1fr; padding: 1.25rem 1.1rem; }
  .samples { grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); }
}
@media (prefers-color-scheme: dark) {
  img.ink { filter: invert(0.92); }
  .samples img.ink { border-color: #d8d2cc; } /* turned round with the picture */
  .signed { filter: invert(0.92) hue-rotate(180deg); }
}
@media print {
  :root { --paper: #ffffff; }
  main { max-width: none; padding: 0; }
  .card, figure { break-inside: avoid; }
  .tall { max-height: none; }
}
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
# A node of Ranvier, where the signal jumps: the gap in the sheath of a nerve fibre.
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect x='1' y='10' width='12' height='12' rx='6' fill='%232b6cb0'/%3E"
    "%3Crect x='19' y='10' width='12' height='12' rx='6' fill='%232b6cb0'/%3E"
    "%3Cpath d='M11 16h10' stroke='%23c05621' stroke-width='3'/%3E%3C/svg%3E"
)


def page(title: str, body: str, language: str = "en") -> str:
    """A complete HTML page, which is well-formed XML too.

    Args:
        title: for the window and the list of bookmarks.
        body: markup for the inside of ``<main>``.
        language: of the text, as a language tag.
    """
    head = element(
        "head",
        '<meta charset="utf-8"/>',
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", text(title)),
        element("link", rel="icon", href=_ICON),
        element("style", _STYLE),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", element("main", body)), lang=language) + "\n"
