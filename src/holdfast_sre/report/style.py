"""The style sheet of a report: one scale of sizes, one set of colours for light and one for dark, rules for paper."""

from __future__ import annotations

STYLE = """
:root {
  --paper: #ffffff; --ground: #f6f7f9; --ink: #1c2430; --soft: #5b6675; --faint: #8a94a3; --rule: #e3e7ec;
  --good: #14804a; --good-tint: #e7f6ee; --bad: #b42318; --bad-tint: #fdecea;
  --warn: #9a5b00; --warn-tint: #fdf3e0; --calm: #2f5fbf; --calm-tint: #eaf0fc;
  --work: #3b6fd4; --wait: #c3cad5; --error: #d9822b;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --sans: Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #171c24; --ground: #10141a; --ink: #e6eaf0; --soft: #a3aebd; --faint: #75808f; --rule: #2a323d;
    --good: #57cf92; --good-tint: #12301f; --bad: #ff8f85; --bad-tint: #3a1715;
    --warn: #f0b45c; --warn-tint: #33240b; --calm: #8db2ff; --calm-tint: #172643;
    --work: #6c9bf5; --wait: #3d4754; --error: #e39a4e;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.55 var(--sans); }
header, nav, main, footer { max-width: 1080px; margin: 0 auto; padding: 0 32px; }
header { padding-top: 44px; }
h1 { margin: 2px 0 12px; font-size: 31px; line-height: 1.2; letter-spacing: -.015em; overflow-wrap: anywhere; }
h2 { margin: 0 0 14px; font-size: 19px; letter-spacing: -.01em; }
h3 { margin: 0 0 4px; font-size: 15px; }
p { margin: 0 0 10px; }
code { font: .88em/1.5 var(--mono); overflow-wrap: anywhere; }
blockquote { margin: 0 0 12px; padding: 2px 0 2px 14px; border-left: 3px solid var(--rule); color: var(--soft);
  white-space: pre-line; overflow-wrap: anywhere; }
.eyebrow { margin: 0; color: var(--soft); font-size: 13px; font-weight: 600; letter-spacing: .02em; }
.verdict { display: flex; flex-wrap: wrap; align-items: center; gap: 10px; }
.badge { padding: 3px 12px; border-radius: 99px; font-size: 13px; font-weight: 650; }
.badge.good { color: var(--good); background: var(--good-tint); }
.badge.bad { color: var(--bad); background: var(--bad-tint); }
.badge.warn { color: var(--warn); background: var(--warn-tint); }
.badge.calm { color: var(--calm); background: var(--calm-tint); }
.meaning, .quiet { color: var(--soft); }
.quiet { font-size: 13px; }
.summary { max-width: 46em; font-size: 17px; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 20px 0; }
.tiles div { flex: 1 1 150px; padding: 13px 16px 11px; background: var(--paper); border: 1px solid var(--rule);
  border-radius: 10px; display: flex; flex-direction: column-reverse; }
.tiles dt { color: var(--soft); font-size: 12.5px; }
.tiles dd { margin: 0; font-size: 23px; font-weight: 650; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 8px 24px; margin: 0 0 20px; }
.facts dt { color: var(--faint); font-size: 12px; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; padding-top: 12px; padding-bottom: 12px; font-size: 13.5px; }
a { color: var(--calm); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
section { margin: 0 0 16px; padding: 24px 26px 20px; background: var(--paper); border: 1px solid var(--rule);
  border-radius: 14px; }
.card { margin: 0 0 12px; padding: 14px 18px 8px; border: 1px solid var(--rule); border-radius: 10px; }
.recovered { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 26px; border-color: transparent;
  background: var(--good-tint); }
.recovered div { flex: 1 1 320px; }
.figure { display: flex; flex-direction: column; margin: 0 0 6px; color: var(--good); }
.figure b { font-size: 29px; line-height: 1.15; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.figure span { font-size: 12.5px; }
.cause { border-left: 4px solid var(--bad); }
.minor { padding: 10px 16px 4px; font-size: 14px; }
.about { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; }
.confidence { color: var(--soft); font-size: 13px; }
.about .bar { width: 110px; height: 6px; border-radius: 3px; background: var(--rule); overflow: hidden; }
.about .bar i { display: block; height: 100%; background: var(--work); }
.evidence, .plain, .said, .checks { margin: 0 0 8px; padding: 0; list-style: none; }
.evidence li { padding: 7px 0; border-top: 1px solid var(--rule); display: flex; flex-wrap: wrap; gap: 2px 14px;
  justify-content: space-between; }
.evidence q { font: 13px/1.5 var(--mono); overflow-wrap: anywhere; quotes: none; }
.evidence cite { color: var(--faint); font-size: 12.5px; font-style: normal; }
.plain li { padding: 1px 0; }
.checks li { padding: 2px 0 2px 24px; position: relative; }
.checks li::before { content: ""; position: absolute; left: 4px; top: 9px; width: 9px; height: 5px; rotate: -45deg;
  border: solid var(--good); border-width: 0 0 2px 2px; }
.said li { padding: 6px 0 1px 16px; margin-bottom: 8px; border-left: 4px solid var(--rule); }
.said .good { border-color: var(--good); }
.said .warn { border-color: var(--warn); }
.said .bad { border-color: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: 13px; }
.legend i { display: inline-block; width: 11px; height: 11px; margin-right: 6px; border-radius: 3px;
  vertical-align: -1px; }
.timeline { position: relative; --name: 230px; --took: 92px; }
.timeline ol { margin: 0; padding: 0; list-style: none; }
.timeline li { display: grid; grid-template-columns: var(--name) 1fr var(--took); align-items: center;
  min-height: 27px; }
.timeline li:nth-child(odd) { background: color-mix(in srgb, var(--ground) 55%, transparent); }
.timeline .name { padding-left: 6px; line-height: 1.3; }
.timeline .name em { display: block; color: var(--faint); font-size: 12px; font-style: normal; }
.timeline .track { position: relative; align-self: stretch; min-height: 27px; }
.timeline .bar { position: absolute; top: 8px; height: 11px; min-width: 3px; border-radius: 3px; }
.timeline .took { padding-right: 6px; text-align: right; color: var(--soft); font-size: 13px;
  font-variant-numeric: tabular-nums; }
.bar.work, .legend .work { background: var(--work); }
.bar.wait, .legend .wait { background: var(--wait); }
.bar.error, .legend .error { background: var(--error); }
.legend .kill { width: 2px; height: 13px; border-radius: 0; background: var(--bad); }
.marks { position: absolute; inset: 0 var(--took) 0 var(--name); pointer-events: none; }
.marks .kill { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: var(--bad); }
.axis { display: flex; justify-content: space-between; margin: 5px 92px 0 230px; color: var(--faint); font-size: 12px;
  font-variant-numeric: tabular-nums; }
.diff, .wide { overflow-x: auto; margin: 0 0 12px; border: 1px solid var(--rule); border-radius: 9px; }
table { border-collapse: collapse; width: 100%; }
.diff td { padding: 0 10px; font: 12.5px/1.65 var(--mono); white-space: pre; }
.diff .n { width: 1%; padding: 0 8px; color: var(--faint); text-align: right; user-select: none; }
.diff .s { width: 1%; padding: 0 2px; color: var(--faint); user-select: none; }
.diff .file td { padding: 7px 12px; background: var(--ground); font-weight: 650; }
.diff .hunk td { padding: 3px 12px; background: var(--calm-tint); color: var(--soft); }
.diff .added { background: var(--good-tint); }
.diff .added .s { color: var(--good); font-weight: 700; }
.diff .removed { background: var(--bad-tint); }
.diff .removed .s { color: var(--bad); font-weight: 700; }
.audit { font-size: 13px; }
.audit th { padding: 8px; text-align: left; color: var(--soft); font-size: 12px; font-weight: 600;
  border-bottom: 1px solid var(--rule); }
.audit td { padding: 5px 8px; vertical-align: top; border-bottom: 1px solid var(--rule); }
.audit tr:last-child td { border-bottom: 0; }
.audit .n, .audit .when, .audit .by, .audit .digest { color: var(--soft); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.audit small { display: block; color: var(--faint); font-size: 10.5px; line-height: 1.3; white-space: nowrap; }
.audit b { font-weight: 600; overflow-wrap: normal; }
.audit .error { background: var(--warn-tint); }
.paper { margin: 0; padding: 10px; background: #ffffff; border: 1px solid var(--rule); border-radius: 9px;
  overflow-x: auto; }
.paper svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.paper figcaption { padding: 6px 4px 0; color: #5b6675; font-size: 12.5px; }
.alarm { padding: 10px 14px; border-radius: 9px; color: var(--bad); background: var(--bad-tint); font-weight: 600; }
.unseen { padding: 0 3px; border-radius: 3px; color: var(--warn); background: var(--warn-tint);
  font: 11px var(--mono); }
footer { padding-top: 6px; padding-bottom: 44px; color: var(--faint); font-size: 12.5px; }
footer p { margin: 0; }
@media (max-width: 720px) {
  header, nav, main, footer { padding-left: 16px; padding-right: 16px; }
  section { padding: 18px 16px 14px; }
  .timeline { --name: 140px; --took: 70px; }
  .axis { margin: 5px 70px 0 140px; }
}
@media print {
  :root { --ground: #ffffff; --paper: #ffffff; --ink: #000000; --soft: #444444; --faint: #666666; --rule: #cccccc; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  nav { display: none; }
  header, main, footer { max-width: none; padding: 0; }
  section { padding: 14px 0; border: 0; border-top: 1px solid var(--rule); border-radius: 0; }
  h2, h3 { break-after: avoid; }
  .card, .timeline li, .audit tr, .diff tr, .paper { break-inside: avoid; }
  .diff, .wide, .paper { overflow: visible; }
  .diff td { white-space: pre-wrap; overflow-wrap: anywhere; }
}
"""
