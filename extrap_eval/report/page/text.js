// Text into nodes. Nothing here reads markup: every string ends in a text node, or goes through KaTeX, which is told to
// trust none of it.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const grouped = (number) => number.toLocaleString("en-US");
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Characters that have no picture, or would change how others are shown.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

function pictureOf(character) {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
}

function appendText(parent, text) {
  let from = 0;
  for (const found of text.matchAll(CONTROL)) {
    if (found.index > from) parent.append(text.slice(from, found.index));
    parent.append(make("span", { class: "control", title: "control character" }, pictureOf(found[0])));
    from = found.index + 1;
  }
  if (from < text.length) parent.append(text.slice(from));
}

const FORMULA = new RegExp(
  [
    String.raw`\$\$([\s\S]{1,4000}?)\$\$`,
    String.raw`\\\[([\s\S]{1,4000}?)\\\]`,
    String.raw`\\\(([\s\S]{1,4000}?)\\\)`,
    String.raw`(\\begin\{(align|equation|gather|cases|array|[bpvV]?matrix)(\*?)\}[\s\S]{1,4000}?\\end\{\5\6\})`,
    String.raw`(?<![\\$])\$(?![\s$])((?:[^$\\\n]|\\[^\n]){1,1000}?)(?<!\s)\$(?![\d$])`,
  ].join("|"),
  "g",
);
const UNTRUSTED = /\\(?:href|url|includegraphics|html|class|cssId|data|def|gdef|edef|xdef|let|futurelet|newcommand)/;

// The formulas in text[start, end), with those boxes that stand outside of any: {start, end, tex, display}.
function formulasIn(text, start, end, boxes) {
  const found = [];
  for (const match of text.slice(start, end).matchAll(FORMULA)) {
    const tex = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[7];
    const display = match[3] === undefined && match[7] === undefined;
    found.push({ start: start + match.index, end: start + match.index + match[0].length, tex, display });
  }
  for (const [from, to] of boxes) {
    if (from < start || to > end || found.some((each) => each.start < to && from < each.end)) continue;
    found.push({ start: from, end: to, tex: text.slice(from, to), display: false });
  }
  return found.filter((each) => !UNTRUSTED.test(each.tex)).sort((a, b) => a.start - b.start);
}

// A formula as an element, or null where KaTeX cannot read it.
function formula(tex, display) {
  const element = make("span", { class: "formula" });
  try {
    katex.render(tex, element, { displayMode: display, trust: false, strict: "ignore", maxSize: 20, maxExpand: 200 });
    return element;
  } catch {
    return null;
  }
}

// A text with its formulas, once and for all.
function prose(element, text) {
  element.replaceChildren();
  let from = 0;
  for (const each of formulasIn(text, 0, text.length, [])) {
    const drawn = formula(each.tex, each.display);
    if (drawn === null) continue;
    appendText(element, text.slice(from, each.start));
    element.append(drawn);
    from = each.end;
  }
  appendText(element, text.slice(from));
  return element;
}

const SIGNS = { right: "✓", wrong: "✗", timeout: "?", none: "–" };
const WORDS = { right: "right", wrong: "wrong", timeout: "not judged in time", none: "no answer" };

function verdictMark(kind) {
  return make("span", { class: `verdict ${kind}` }, `${SIGNS[kind]} ${WORDS[kind]}`);
}
