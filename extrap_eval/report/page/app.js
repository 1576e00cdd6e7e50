// What is looked at, the address that says so, and the keys.
const VIEWS = ["overview", "problems", "trace"];
const $ = (id) => document.getElementById(id);
const state = { view: "overview", run: 0, problem: 0, samples: DATA.compare ? [0, 0] : [0], budget: 0, math: true };
const MOST = Math.max(...DATA.runs.map((run) => run.maximum));
const BUDGETS = [...new Set(DATA.runs.flatMap((run) => run.budgets))].sort((a, b) => a - b);
state.budget = MOST;

const runOf = (pane) => DATA.runs[DATA.compare ? pane : state.run];
const grid = DATA.compare ? null : problemGrid($("problems"), { onOpen: (problem, sample) => open(problem, [sample]) });
const flips = DATA.compare ? comparison($("problems"), { onOpen: openSide }) : null;
const panes = [...document.querySelectorAll(".pane")].map((root, pane) =>
  tracePane(root, { onBudget: (tokens) => setBudget(tokens, true), onSample: (sample) => open(state.problem, state.samples.with(pane, sample)) }));
const visible = new Array(panes.length).fill("");

function open(problem, samples) {
  Object.assign(state, { view: "trace", problem, samples });
  draw();
  record(true);
}

function openSide(problem, side, sample) {
  open(problem, (problem === state.problem ? state.samples : state.samples.map(() => 0)).with(side, sample));
}

// The slider of the grid is logarithmic, since budgets are.
const KNOB = 1000;
const toKnob = (budget) => Math.round((KNOB * Math.log2(Math.max(budget, 1))) / Math.max(Math.log2(MOST), 1));
const fromKnob = (knob) => Math.max(1, Math.round(2 ** ((knob / KNOB) * Math.log2(MOST))));

function setBudget(tokens, follow = false) {
  state.budget = Math.max(0, Math.min(MOST, Math.round(tokens)));
  drawBudget(follow);
  record(false);
}

function drawBudget(follow) {
  $("knob").value = toKnob(state.budget);
  $("knob").setAttribute("aria-valuetext", `${grouped(state.budget)} tokens`);
  if ($("tokens") !== document.activeElement) $("tokens").value = state.budget;
  for (const button of document.querySelectorAll("[data-budget]")) button.setAttribute("aria-pressed", String(Number(button.dataset.budget) === state.budget));
  if (state.view === "problems") {
    grid?.show(DATA.runs[state.run], state.budget);
    flips?.show(state.budget);
  }
  if (state.view === "trace") panes.forEach((pane) => pane.setBudget(state.budget, follow));
}

function draw(follow = false) {
  for (const view of VIEWS) {
    $(view).hidden = view !== state.view;
    document.querySelector(`[data-view="${view}"]`).setAttribute("aria-selected", String(view === state.view));
  }
  $("budget").hidden = state.view === "overview";
  for (const select of document.querySelectorAll("select.run")) select.value = state.run;
  drawBudget(false);
  if (state.view !== "trace") return;
  $("which").textContent = `Problem ${state.problem + 1} of ${runOf(0).problems.length}`;
  panes.forEach((pane, i) => {
    const wanted = [state.run, state.problem, state.samples[i]].join();
    if (visible[i] !== wanted) pane.show(runOf(i), state.problem, state.samples[i], follow);
    visible[i] = wanted;
  });
}

// The address: #problem=ID&sample=3&budget=4096, with view, run and other (the second sample) where they are needed.
let waitingToRecord = 0;
function address() {
  const hash = new URLSearchParams();
  if (DATA.runs.length > 1 && !DATA.compare) hash.set("run", state.run);
  if (state.view === "trace") {
    hash.set("problem", runOf(0).problems[state.problem].id);
    hash.set("sample", state.samples[0]);
    if (DATA.compare) hash.set("other", state.samples[1]);
  } else hash.set("view", state.view);
  if (state.view !== "overview") hash.set("budget", state.budget);
  return `#${hash}`;
}

function record(step) {
  clearTimeout(waitingToRecord);
  const write = () => {
    if (address() === location.hash) return;
    if (step) history.pushState(null, "", address());
    else history.replaceState(null, "", address());
  };
  if (step) write();
  else waitingToRecord = setTimeout(write, 120); // browsers refuse too many changes
}

function restore() {
  clearTimeout(waitingToRecord);
  const hash = new URLSearchParams(location.hash.slice(1));
  const whole = (name, most) => {
    const value = Number(hash.get(name));
    return hash.has(name) && Number.isInteger(value) && value >= 0 && value <= most ? value : null;
  };
  state.run = whole("run", DATA.runs.length - 1) ?? state.run;
  const problem = runOf(0).problems.findIndex((each) => each.id === hash.get("problem"));
  state.budget = whole("budget", MOST) ?? state.budget;
  if (problem >= 0) {
    state.view = "trace";
    state.problem = problem;
    state.samples = [whole("sample", runOf(0).n - 1) ?? 0];
    if (DATA.compare) state.samples.push(whole("other", runOf(1).n - 1) ?? 0);
  } else if (VIEWS.includes(hash.get("view"))) state.view = hash.get("view");
  else if (!location.hash) state.view = "overview";
  draw(hash.has("budget"));
}

function go(view) {
  state.view = view;
  draw();
  record(true);
}

// The next sample, going on to the next problem at the end.
function step(by) {
  const run = runOf(0);
  const total = run.problems.length * run.n;
  const at = (state.problem * run.n + state.samples[0] + by + total) % total;
  const sample = at % run.n;
  open(Math.floor(at / run.n), state.samples.map((_, pane) => Math.min(sample, runOf(pane).n - 1)));
}

function stepProblem(by) {
  const count = runOf(0).problems.length;
  open((state.problem + by + count) % count, state.samples.map(() => 0));
}

function stepBudget(by) {
  const next = by > 0 ? BUDGETS.find((each) => each > state.budget) : BUDGETS.findLast((each) => each < state.budget);
  if (next !== undefined) setBudget(next, true);
}

function theme(turn) {
  const modes = ["auto", "light", "dark"];
  const root = document.documentElement;
  let mode = root.dataset.theme ?? "auto";
  if (turn) mode = modes[(modes.indexOf(mode) + 1) % 3];
  root.dataset.theme = mode;
  $("theme").textContent = `Theme: ${mode}`;
  try {
    if (turn) localStorage.setItem("extrap-eval theme", mode);
  } catch {
    // A browser may keep nothing for pages from files.
  }
}

function toggleMath() {
  state.math = !state.math;
  $("math").setAttribute("aria-pressed", String(state.math));
  panes.forEach((pane) => pane.setMath(state.math));
}

const inTrace = (act) => () => state.view === "trace" && act();
const KEYS = {
  1: () => go("overview"),
  2: () => go("problems"),
  3: () => go("trace"),
  j: inTrace(() => step(1)),
  k: inTrace(() => step(-1)),
  ArrowRight: inTrace(() => step(1)),
  ArrowLeft: inTrace(() => step(-1)),
  J: inTrace(() => stepProblem(1)),
  K: inTrace(() => stepProblem(-1)),
  "]": () => stepBudget(1),
  "[": () => stepBudget(-1),
  ".": () => setBudget(state.budget + 1, true),
  ",": () => setBudget(state.budget - 1, true),
  b: inTrace(() => toBox(1)),
  B: inTrace(() => toBox(-1)),
  "/": inTrace(() => panes[0].focusSearch()),
  n: inTrace(() => panes[0].toHit(1)),
  N: inTrace(() => panes[0].toHit(-1)),
  m: inTrace(toggleMath),
  t: () => theme(true),
  "?": () => $("help").showModal(),
};

function toBox(by) {
  const tokens = panes[0].nextBox(by);
  if (tokens !== null) setBudget(tokens, true);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || $("help").open) return;
  const typing = event.target.matches("input:not([type=range]), select, textarea");
  if (typing || (event.target.matches("input[type=range]") && event.key.startsWith("Arrow"))) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const tab of document.querySelectorAll("[data-view]")) tab.addEventListener("click", () => go(tab.dataset.view));
for (const select of document.querySelectorAll("select.run")) {
  select.addEventListener("change", () => {
    const problem = DATA.runs[Number(select.value)].problems.findIndex((each) => each.id === runOf(0).problems[state.problem].id);
    state.run = Number(select.value);
    state.problem = Math.max(problem, 0);
    state.samples = [Math.min(state.samples[0], runOf(0).n - 1)];
    draw();
    record(true);
  });
}
for (const link of document.querySelectorAll("[data-jump]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the address says what is looked at, and stays
    $(link.dataset.jump).open = true;
    $(link.dataset.jump).scrollIntoView();
  });
}
$("knob").addEventListener("input", () => setBudget(fromKnob(Number($("knob").value)), true));
$("tokens").addEventListener("input", () => $("tokens").value && setBudget(Number($("tokens").value), true));
$("tokens").addEventListener("blur", () => ($("tokens").value = state.budget));
$("budgets").replaceChildren(...BUDGETS.map((each) => make("button", { type: "button", "data-budget": each, onclick: () => setBudget(each, true) }, grouped(each))));
$("next").addEventListener("click", () => step(1));
$("previous").addEventListener("click", () => step(-1));
$("next-problem").addEventListener("click", () => stepProblem(1));
$("previous-problem").addEventListener("click", () => stepProblem(-1));
$("math").addEventListener("click", toggleMath);
$("theme").addEventListener("click", () => theme(true));
$("keys").addEventListener("click", () => $("help").showModal());
window.addEventListener("hashchange", restore);
window.addEventListener("popstate", restore);
try {
  document.documentElement.dataset.theme = localStorage.getItem("extrap-eval theme") ?? "auto";
} catch {
  // As above.
}
theme(false);
restore();
document.documentElement.dataset.ready = Math.round(performance.now());
