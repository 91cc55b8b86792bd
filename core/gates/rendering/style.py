"""How a verdict's page looks: light and dark as the reader has it, narrow and wide."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --card: #f6f7f9; --ink: #1c2127; --quiet: #59626d; --line: #d5dae1; --kept: #1f883d24;
  --good: #1a7f37; --bad: #b9342b; --open: #8a6500; --none: #636c76; --said: #0b62b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1d2127; --ink: #e8ebef; --quiet: #9aa4b0; --line: #353c45; --kept: #3fb95030;
    --good: #4cc265; --bad: #ff7b72; --open: #dda72f; --none: #9aa4b0; --said: #6cb0f5;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1, h2, h3, p, dl { margin: 0; }
header, article { border-left: .4rem solid var(--tone); border-radius: .4rem; background: var(--card); }
header { padding: 1rem 1.25rem; }
h1 { font-size: 1.75rem; line-height: 1.2; color: var(--tone); }
.model { font-weight: 600; margin: .25rem 0; }
h2 { font-size: 1.15rem; margin: 1.75rem 0 .75rem; }
small { font-size: .875rem; font-weight: 400; color: var(--quiet); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin-top: 1.25rem; font-size: .9rem; }
dt { color: var(--quiet); }
dd { margin: 0; }
a { color: var(--said); }
article { padding: .75rem 1.25rem; margin-bottom: .75rem; }
article { content-visibility: auto; contain-intrinsic-size: auto 12rem; }
article:not(.counts) { border-left-width: .15rem; }
h3 { font-size: 1rem; display: flex; flex-wrap: wrap; align-items: baseline; gap: .15rem .6rem; }
h3 b { padding: 0 .5rem; border-radius: 1rem; font-size: .8rem; background: var(--tone); color: var(--paper); }
code { font: .85rem ui-monospace, monospace; font-weight: 400; color: var(--quiet); }
article p { font-size: .925rem; margin-top: .15rem; }
article .on { font-size: .85rem; color: var(--quiet); }
ul { margin: 0; padding-left: 1.25rem; }
.passed, .pass { --tone: var(--good); }
.failed, .fail, .error { --tone: var(--bad); }
.inconclusive, .warn { --tone: var(--open); }
.no_baseline { --tone: var(--none); }
.waived { --tone: var(--said); }
svg { display: block; width: 100%; height: 4rem; margin: .5rem 0; font: 13px system-ui, sans-serif; }
svg text { fill: var(--ink); }
svg text + text { fill: var(--quiet); }
.allowed { fill: var(--kept); }
.axis { stroke: var(--line); stroke-width: 1; }
.bar { stroke: var(--tone); stroke-width: 8; stroke-opacity: .55; }
.limit { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 4 2; }
circle { fill: var(--tone); stroke: var(--card); stroke-width: 2; }
"""
